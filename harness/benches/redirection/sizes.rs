//! The plans that are measured.

use std::path::Path;

use linkerd_harness::redirection::Host;
use linkerd_harness_core::config::{FailurePolicy, Mode, Redirect};
use linkerd_harness_core::redirect::{GuardRail, Plan, ProxyPorts, SshdFound};

use crate::netns::Namespace;

/// The proxy's uid.
pub(crate) const PROXY: u32 = 42_424;

/// No daemon's directory: root reads the kernel itself.
pub(crate) const RUN_DIR: &str = "/nonexistent/linkerd-proxy-harness";

/// What a host gets that sets nothing but `IPv6`.
pub(crate) fn default() -> Plan {
    mk_plan(&mk_redirect())
}

/// 500 ports that do not follow one another and 500 subnets that do not lie side by side, half of them IPv6. The ports are
/// redirected inbound, and the last is 80.
pub(crate) fn large() -> Plan {
    let mut redirect = mk_redirect();
    redirect.inbound_ports = (0..499)
        .map(|n| 20_000 + 2 * n)
        .chain([80])
        .map(|port: u32| port.to_string().parse().unwrap())
        .collect();
    redirect.subnets_ignore = (0..250)
        .flat_map(|n| [format!("172.16.{n}.0/25"), format!("2001:db8:{n:x}::/64")])
        .map(|net| net.parse().unwrap())
        .collect();
    mk_plan(&redirect)
}

pub(crate) fn open(vm: &Namespace, mode: Mode) -> Host {
    let (firewall, _) = vm.block_on(Host::open(mode, Path::new(RUN_DIR))).unwrap();
    firewall
}

fn mk_redirect() -> Redirect {
    Redirect {
        inbound_ports: vec![],
        inbound_ignore: vec!["4567-4568".parse().unwrap()],
        outbound_ignore: vec!["4567-4568".parse().unwrap()],
        subnets_ignore: vec![],
        subnets_redirect: vec![],
        ipv6: true,
        mode: Mode::Auto,
        failure_policy: FailurePolicy::Open,
    }
}

fn mk_plan(redirect: &Redirect) -> Plan {
    let ports = ProxyPorts {
        inbound: 4143,
        outbound: 4140,
        outbound_v6: 4140,
        admin: vec![4190, 4191, 4192],
    };
    let guard = [
        GuardRail::Sshd {
            port: 22,
            found: SshdFound::Listening,
        },
        GuardRail::ControlPlane("10.0.0.81:8081".parse().unwrap()),
    ];
    Plan::new(redirect, ports, PROXY, guard)
}
