//! Probes of kinds that not every harness knows.

use linkerd_harness_api::{CAPABILITY_PROBE_EXEC, CAPABILITY_PROBE_GRPC, CAPABILITY_PROBE_TCP, v1};

use crate::crd::limits;

/// The kinds of probes, beside `httpGet`, that a harness announced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProbeKinds {
    tcp_socket: bool,
    grpc: bool,
    exec: bool,
}

/// No host, and no host's address: a connection to it fails in the kernel, before any rule of a firewall.
const NOBODY: &str = "255.255.255.255";

// === impl ProbeKinds ===

impl ProbeKinds {
    /// Out of the capabilities of a `Hello`.
    pub fn announced(capabilities: &[String]) -> Self {
        let has = |wanted: &str| capabilities.iter().any(|capability| capability == wanted);
        Self {
            tcp_socket: has(CAPABILITY_PROBE_TCP),
            grpc: has(CAPABILITY_PROBE_GRPC),
            exec: has(CAPABILITY_PROBE_EXEC),
        }
    }

    /// The group's probes as that harness can make them. In place of one that it does not know it gets one that cannot
    /// pass, whose words say why: left out, the workload would be ready though nobody looked.
    pub(super) fn of(self, probes: &[v1::Probe]) -> Vec<v1::Probe> {
        let known = |probe: &v1::Probe| {
            let unknown = [
                (probe.tcp_socket.is_some() && !self.tcp_socket, "tcpSocket"),
                (probe.grpc.is_some() && !self.grpc, "grpc"),
                (probe.exec.is_some() && !self.exec, "exec"),
            ];
            let unknown = unknown.into_iter().find(|(unknown, _)| *unknown);
            unknown.map_or_else(|| probe.clone(), |(_, kind)| impassable(kind))
        };
        probes.iter().map(known).collect()
    }
}

fn impassable(kind: &str) -> v1::Probe {
    v1::Probe {
        http_get: Some(v1::HttpGet {
            scheme: limits::SCHEME.into(),
            host: NOBODY.into(),
            port: 80,
            path: format!("/this-group-has-{kind}-probes-which-need-a-newer-linkerd-proxy-harness"),
            headers: Vec::new(),
        }),
        initial_delay_seconds: 0,
        period_seconds: limits::PERIOD_SECONDS,
        timeout_seconds: limits::TIMEOUT_SECONDS,
        success_threshold: limits::SUCCESS_THRESHOLD,
        failure_threshold: 1,
        ..v1::Probe::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_can_be_connected_to_at_nobodys_address() {
        let address = std::net::SocketAddr::new(NOBODY.parse().unwrap(), 80);
        let error = std::net::TcpStream::connect(address).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::NetworkUnreachable);
    }
}
