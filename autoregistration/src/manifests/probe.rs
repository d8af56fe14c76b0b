//! A probe of a group: one kind, and the numbers, with Kubernetes' defaults for what is left out.

use linkerd_harness_api::v1;
use linkerd_harness_core::probe::check_command;

use super::node::Node;
use crate::crd::limits;

const KINDS: [&str; 4] = ["httpGet", "tcpSocket", "grpc", "exec"];

/// Ports of the template, by which a probe may name its own.
type Ports = [(String, u16)];

pub(super) fn read(probe: &Node<'_>, ports: &Ports) -> Option<v1::Probe> {
    let given = KINDS.map(|kind| probe.field(kind).present());
    match given.iter().filter(|given| **given).count() {
        0 => {
            probe.problem("has no kind; write one, e.g. httpGet: { path: /ready, port: 80 }");
            return None;
        }
        1 => {}
        _ => {
            probe.problem("has more than one kind; make each of them a probe of its own");
            return None;
        }
    }
    let settings = v1::Probe {
        initial_delay_seconds: probe
            .field("initialDelaySeconds")
            .number(0, limits::INITIAL_DELAY_SECONDS),
        period_seconds: probe
            .field("periodSeconds")
            .number(1, limits::PERIOD_SECONDS),
        timeout_seconds: probe
            .field("timeoutSeconds")
            .number(1, limits::TIMEOUT_SECONDS),
        success_threshold: probe
            .field("successThreshold")
            .number(1, limits::SUCCESS_THRESHOLD),
        failure_threshold: probe
            .field("failureThreshold")
            .number(1, limits::FAILURE_THRESHOLD),
        ..v1::Probe::default()
    };
    let [get, socket, grpc_of, program] = KINDS.map(|kind| probe.field(kind));
    Some(if get.present() {
        v1::Probe {
            http_get: Some(http_get(&get, ports)?),
            ..settings
        }
    } else if socket.present() {
        v1::Probe {
            tcp_socket: Some(v1::TcpSocket {
                host: host(&socket.field("host")),
                port: port(&socket.field("port"), ports)?.into(),
            }),
            ..settings
        }
    } else if grpc_of.present() {
        v1::Probe {
            grpc: Some(grpc(&grpc_of)?),
            ..settings
        }
    } else {
        v1::Probe {
            exec: Some(exec(&program)?),
            ..settings
        }
    })
}

fn http_get(get: &Node<'_>, ports: &Ports) -> Option<v1::HttpGet> {
    let scheme = get
        .field("scheme")
        .text()
        .unwrap_or_else(|| limits::SCHEME.into());
    if !matches!(scheme.as_str(), "HTTP" | "HTTPS") {
        get.field("scheme")
            .problem(format!("`{scheme}` is not known; write HTTP or HTTPS"));
    }
    let path = get
        .field("path")
        .text()
        .unwrap_or_else(|| limits::PATH.into());
    if !path.starts_with('/') || path.parse::<hyper::http::uri::PathAndQuery>().is_err() {
        get.field("path").problem(format!(
            "`{}` is not a path; begin it with `/` and encode spaces",
            path.escape_debug()
        ));
    }
    get.field("httpHeaders").at_most(limits::HEADERS);
    let headers = get
        .field("httpHeaders")
        .items()
        .iter()
        .filter_map(header)
        .collect();
    Some(v1::HttpGet {
        port: port(&get.field("port"), ports)?.into(),
        scheme,
        host: host(&get.field("host")),
        path,
        headers,
    })
}

fn header(entry: &Node<'_>) -> Option<v1::Header> {
    let name = entry.field("name").required_text()?;
    let value = entry.field("value").text().unwrap_or_default();
    if hyper::header::HeaderName::from_bytes(name.as_bytes()).is_err()
        || hyper::header::HeaderValue::from_str(&value).is_err()
    {
        entry.problem(format!("`{}` is not a valid header", name.escape_debug()));
    }
    Some(v1::Header { name, value })
}

fn grpc(grpc: &Node<'_>) -> Option<v1::Grpc> {
    let service = grpc.field("service").text().unwrap_or_default();
    if service.chars().count() > limits::HOST_NAME {
        grpc.field("service").problem(format!(
            "has {} characters; at most {}",
            service.chars().count(),
            limits::HOST_NAME
        ));
    }
    Some(v1::Grpc {
        port: grpc.field("port").port()?.into(),
        service,
    })
}

fn exec(exec: &Node<'_>) -> Option<v1::Exec> {
    let command = exec.field("command");
    let words = command
        .items()
        .iter()
        .map(Node::required_text)
        .collect::<Option<Vec<_>>>()?;
    match check_command(&words) {
        Ok(()) => Some(v1::Exec { command: words }),
        Err(wrong) => {
            command.problem(wrong.to_string());
            None
        }
    }
}

/// Whom the VM asks; itself when it is left out.
fn host(host: &Node<'_>) -> String {
    let text = host.text().unwrap_or_default();
    if text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '/') {
        host.problem(format!(
            "`{}` is not a host; write a name or an address",
            text.escape_debug()
        ));
    }
    if text.chars().count() > limits::HOST_NAME {
        host.problem(format!(
            "has {} characters; at most {}",
            text.chars().count(),
            limits::HOST_NAME
        ));
    }
    if text.is_empty() {
        limits::HOST.into()
    } else {
        text
    }
}

/// By number, or by the name of a port of the template.
fn port(port: &Node<'_>, ports: &Ports) -> Option<u16> {
    if !port.is_text() {
        return port.port();
    }
    let wanted = port.text()?;
    let number = ports
        .iter()
        .find(|(name, _)| *name == wanted)
        .map(|(_, number)| *number);
    if number.is_none() {
        port.problem(format!(
            "no port of spec.template.ports is named `{wanted}`; write its number or name that port"
        ));
    }
    number
}
