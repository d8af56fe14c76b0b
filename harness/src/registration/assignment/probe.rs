//! One probe: from the wire with Kubernetes' defaults for what is zero, and back.

use std::time::Duration;

use linkerd_harness_api::v1;
use linkerd_harness_core::probe::{Check, Probe, Scheme, check_command};

use super::Problems;

/// Longer than this a probe says nothing about the present.
const LONGEST_SECONDS: u32 = 24 * 3600;

pub(super) fn from_wire(index: usize, wire: v1::Probe, problems: &mut Problems) -> Option<Probe> {
    let what = format!("probes[{index}]");
    let mut seconds = |field: &str, value: u32, default: u32| {
        if value > LONGEST_SECONDS {
            problems.add(format!(
                "{what}.{field} is {value}, it must be at most {LONGEST_SECONDS}"
            ));
        }
        Duration::from_secs(if value == 0 { default } else { value }.into())
    };
    let initial_delay = seconds("initial_delay_seconds", wire.initial_delay_seconds, 0);
    let period = seconds("period_seconds", wire.period_seconds, 10);
    let timeout = seconds("timeout_seconds", wire.timeout_seconds, 1);
    let check = match (wire.http_get, wire.tcp_socket, wire.grpc, wire.exec) {
        (Some(get), None, None, None) => http_get(&what, get, problems),
        (None, Some(socket), None, None) => tcp_socket(&what, socket, problems),
        (None, None, Some(grpc), None) => problems.port(&what, grpc.port).map(|port| Check::Grpc {
            port,
            service: grpc.service,
        }),
        (None, None, None, Some(exec)) => exec_of(&what, exec, problems),
        (None, None, None, None) => {
            problems.add(format!(
                "{what} is of a kind that this harness does not know; a newer version may"
            ));
            None
        }
        _ => {
            problems.add(format!("{what} is of more than one kind"));
            None
        }
    };
    Some(Probe {
        check: check?,
        initial_delay,
        period,
        timeout,
        success_threshold: wire.success_threshold.max(1),
        failure_threshold: if wire.failure_threshold == 0 {
            3
        } else {
            wire.failure_threshold
        },
    })
}

pub(super) fn to_wire(probe: &Probe) -> v1::Probe {
    let seconds = |duration: Duration| u32::try_from(duration.as_secs()).unwrap_or(u32::MAX);
    let wire = v1::Probe {
        initial_delay_seconds: seconds(probe.initial_delay),
        period_seconds: seconds(probe.period),
        timeout_seconds: seconds(probe.timeout),
        success_threshold: probe.success_threshold,
        failure_threshold: probe.failure_threshold,
        ..v1::Probe::default()
    };
    match probe.check.clone() {
        Check::HttpGet {
            scheme,
            host,
            port,
            path,
            headers,
        } => v1::Probe {
            http_get: Some(v1::HttpGet {
                scheme: match scheme {
                    Scheme::Http => "HTTP".into(),
                    Scheme::Https => "HTTPS".into(),
                },
                host,
                port: port.into(),
                path,
                headers: headers
                    .into_iter()
                    .map(|(name, value)| v1::Header { name, value })
                    .collect(),
            }),
            ..wire
        },
        Check::TcpSocket { host, port } => v1::Probe {
            tcp_socket: Some(v1::TcpSocket {
                host,
                port: port.into(),
            }),
            ..wire
        },
        Check::Grpc { port, service } => v1::Probe {
            grpc: Some(v1::Grpc {
                port: port.into(),
                service,
            }),
            ..wire
        },
        Check::Exec { command } => v1::Probe {
            exec: Some(v1::Exec { command }),
            ..wire
        },
    }
}

fn http_get(what: &str, wire: v1::HttpGet, problems: &mut Problems) -> Option<Check> {
    let scheme = match wire.scheme.as_str() {
        "" | "HTTP" => Some(Scheme::Http),
        "HTTPS" => Some(Scheme::Https),
        other => {
            problems.add(format!("{what}: scheme `{other}` is not HTTP or HTTPS"));
            None
        }
    };
    let host = host(what, wire.host, problems);
    let path = if wire.path.is_empty() {
        "/".to_owned()
    } else {
        wire.path
    };
    if !path.starts_with('/') || http_path(&path).is_none() {
        problems.add(format!(
            "{what}: path `{}` is not a path that begins with `/`",
            path.escape_debug()
        ));
    }
    let headers = wire
        .headers
        .into_iter()
        .map(|header| {
            let valid = hyper::header::HeaderName::from_bytes(header.name.as_bytes()).is_ok()
                && hyper::header::HeaderValue::from_str(&header.value).is_ok();
            if !valid {
                problems.add(format!(
                    "{what}: `{}` is not a valid header",
                    header.name.escape_debug()
                ));
            }
            (header.name, header.value)
        })
        .collect();
    Some(Check::HttpGet {
        scheme: scheme?,
        host,
        port: problems.port(what, wire.port)?,
        path,
        headers,
    })
}

fn tcp_socket(what: &str, wire: v1::TcpSocket, problems: &mut Problems) -> Option<Check> {
    Some(Check::TcpSocket {
        host: host(what, wire.host, problems),
        port: problems.port(what, wire.port)?,
    })
}

/// Becomes a program that runs here, if this host allows it.
fn exec_of(what: &str, wire: v1::Exec, problems: &mut Problems) -> Option<Check> {
    match check_command(&wire.command) {
        Ok(()) => Some(Check::Exec {
            command: wire.command,
        }),
        Err(wrong) => {
            problems.add(format!("{what}: command {wrong}"));
            None
        }
    }
}

/// Goes into a request line and a `Host` header as it is.
fn host(what: &str, host: String, problems: &mut Problems) -> String {
    if host.chars().any(|c| c.is_whitespace() || c.is_control()) || host.contains('/') {
        problems.add(format!(
            "{what}: host `{}` is not a host",
            host.escape_debug()
        ));
    }
    if host.is_empty() {
        "127.0.0.1".to_owned()
    } else {
        host
    }
}

fn http_path(path: &str) -> Option<hyper::http::uri::PathAndQuery> {
    path.parse().ok()
}
