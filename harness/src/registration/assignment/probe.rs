//! One probe: from the wire with Kubernetes' defaults for what is zero, and back.

use std::time::Duration;

use linkerd_harness_api::v1;
use linkerd_harness_core::probe::{Check, Probe, Scheme};

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
    let Some(get) = wire.http_get else {
        problems.add(format!(
            "{what} is of a kind that this harness does not know; a newer version may"
        ));
        return None;
    };
    Some(Probe {
        check: http_get(&what, get, problems)?,
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
    let Check::HttpGet {
        scheme,
        host,
        port,
        path,
        headers,
    } = &probe.check;
    let seconds = |duration: Duration| u32::try_from(duration.as_secs()).unwrap_or(u32::MAX);
    v1::Probe {
        http_get: Some(v1::HttpGet {
            scheme: match scheme {
                Scheme::Http => "HTTP".into(),
                Scheme::Https => "HTTPS".into(),
            },
            host: host.clone(),
            port: (*port).into(),
            path: path.clone(),
            headers: headers
                .iter()
                .map(|(name, value)| v1::Header {
                    name: name.clone(),
                    value: value.clone(),
                })
                .collect(),
        }),
        initial_delay_seconds: seconds(probe.initial_delay),
        period_seconds: seconds(probe.period),
        timeout_seconds: seconds(probe.timeout),
        success_threshold: probe.success_threshold,
        failure_threshold: probe.failure_threshold,
        ..v1::Probe::default()
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
    let host = if wire.host.is_empty() {
        "127.0.0.1".to_owned()
    } else {
        wire.host
    };
    // Goes into a request line and a `Host` header as it is.
    if host.chars().any(|c| c.is_whitespace() || c.is_control()) || host.contains('/') {
        problems.add(format!(
            "{what}: host `{}` is not a host",
            host.escape_debug()
        ));
    }
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

fn http_path(path: &str) -> Option<hyper::http::uri::PathAndQuery> {
    path.parse().ok()
}
