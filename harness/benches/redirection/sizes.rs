//! The plans that are measured, of two sizes.

use std::path::Path;

use linkerd_harness::redirection::Host;
use linkerd_harness_core::config::Mode;
use linkerd_harness_core::redirect::Plan;

use crate::netns::Namespace;
use crate::plans::{RUN_DIR, mk_plan_of, mk_redirect};

/// What a host gets that sets nothing but `IPv6`.
pub(crate) fn default() -> Plan {
    mk_plan_of(&mk_redirect(true))
}

/// 500 ports that do not follow one another and 500 subnets that do not lie side by side, half of them IPv6. The ports are
/// redirected inbound, and the last is 80.
pub(crate) fn large() -> Plan {
    let mut redirect = mk_redirect(true);
    redirect.inbound_ports = (0..499)
        .map(|n| 20_000 + 2 * n)
        .chain([80])
        .map(|port: u32| port.to_string().parse().unwrap())
        .collect();
    redirect.subnets_ignore = (0..250)
        .flat_map(|n| [format!("172.16.{n}.0/25"), format!("2001:db8:{n:x}::/64")])
        .map(|net| net.parse().unwrap())
        .collect();
    mk_plan_of(&redirect)
}

pub(crate) fn open(vm: &Namespace, mode: Mode) -> Host {
    let (firewall, _) = vm.block_on(Host::open(mode, Path::new(RUN_DIR))).unwrap();
    firewall
}
