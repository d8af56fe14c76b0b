//! The plan that tests and benchmarks of redirection start from.

use linkerd_harness_core::config::{FailurePolicy, Mode, Redirect};
use linkerd_harness_core::redirect::{GuardRail, Plan, ProxyPorts, SshdFound};

/// The proxy's uid.
pub(crate) const PROXY: u32 = 42_424;

/// No daemon's directory: root reads the kernel itself.
pub(crate) const RUN_DIR: &str = "/nonexistent/linkerd-proxy-harness";

/// What a host gets that sets nothing but `IPv6`.
pub(crate) fn mk_redirect(ipv6: bool) -> Redirect {
    Redirect {
        inbound_ports: vec![],
        inbound_ignore: vec!["4567-4568".parse().unwrap()],
        outbound_ignore: vec!["4567-4568".parse().unwrap()],
        subnets_ignore: vec![],
        subnets_redirect: vec![],
        ipv6,
        mode: Mode::Auto,
        failure_policy: FailurePolicy::Open,
    }
}

pub(crate) fn mk_plan_of(redirect: &Redirect) -> Plan {
    let ports = ProxyPorts {
        inbound: 4143,
        outbound: 4140,
        outbound_v6: 4150,
        admin: vec![4190, 4191, 4192],
    };
    let guard = [
        GuardRail::Sshd {
            port: 22,
            found: SshdFound::Listening,
        },
        GuardRail::ControlPlane("10.77.0.2:8081".parse().unwrap()),
    ];
    Plan::new(redirect, ports, PROXY, guard)
}
