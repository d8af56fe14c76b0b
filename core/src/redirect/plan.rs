//! What is redirected and what is skipped, as data.

use std::net::SocketAddr;

use ipnet::IpNet;

use super::guard::GuardRail;
use super::ports::PortSet;
use super::rule::{Chain, Family};
use crate::config::{self, Config, FailurePolicy};
use crate::names::PortRange;

/// Where the proxy serves Linkerd's tap. We never enable it; operators know the port as one that is not redirected.
const TAP_PORT: u16 = 4190;

/// Ports of the proxy and of the harness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyPorts {
    /// Where inbound traffic goes, 4143.
    pub inbound: u16,
    /// Where outbound IPv4 traffic goes, 4140.
    pub outbound: u16,
    /// Where outbound IPv6 traffic goes; 4140 as well by default.
    pub outbound_v6: u16,
    /// Ports for operators and monitoring: 4190, 4191, 4192.
    pub admin: Vec<u16>,
}

/// The whole of what redirection does on this host, for both families. Two equal plans render to equal text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub(super) proxy: ProxyPorts,
    pub(super) uid: u32,
    pub(super) ipv6: bool,
    pub(super) outbound: bool,
    pub(super) inbound: PortSet,
    pub(super) inbound_ignore: PortSet,
    pub(super) outbound_ignore: PortSet,
    pub(super) subnets: Vec<IpNet>,
    pub(super) subnets_ignore: Vec<IpNet>,
    pub(super) guard: Vec<GuardRail>,
    held: bool,
}

// === impl ProxyPorts ===

impl ProxyPorts {
    /// The ports that this configuration gives the proxy and the harness.
    pub fn of(config: &Config) -> Self {
        let outbound = |wanted: fn(&SocketAddr) -> bool| {
            let all = &config.proxy.outbound_listen;
            let found = all.iter().find(|addr| wanted(addr)).or(all.first());
            found.map_or(4140, SocketAddr::port)
        };
        let admin = [config.proxy.admin_listen, config.admin_address].map(|addr| addr.port());
        Self {
            inbound: config.proxy.inbound_listen.port(),
            outbound: outbound(SocketAddr::is_ipv4),
            outbound_v6: outbound(SocketAddr::is_ipv6),
            admin: [TAP_PORT].into_iter().chain(admin).collect(),
        }
    }

    pub(super) fn outbound(&self, family: Family) -> u16 {
        match family {
            Family::V4 => self.outbound,
            Family::V6 => self.outbound_v6,
        }
    }
}

// === impl Plan ===

impl Plan {
    /// Decides what is redirected. `uid` is the proxy's, whose traffic is left alone; `found` are the guard rails that
    /// only the host can tell (SSH, control plane, SPIRE), to which the fixed ones are added.
    pub fn new(
        redirect: &config::Redirect,
        proxy: ProxyPorts,
        uid: u32,
        found: impl IntoIterator<Item = GuardRail>,
    ) -> Self {
        let ports = |ranges: &[PortRange]| ranges.iter().copied().collect();
        let mut guard: Vec<GuardRail> = found.into_iter().collect();
        guard.extend(proxy.admin.iter().copied().map(GuardRail::AdminPort));
        guard.extend(GuardRail::metadata());
        // The order in which the host lists things must not show as a change.
        guard.sort_unstable();
        guard.dedup();
        Self {
            uid,
            ipv6: redirect.ipv6,
            outbound: true,
            inbound: ports(&redirect.inbound_ports),
            inbound_ignore: ports(&redirect.inbound_ignore),
            outbound_ignore: ports(&redirect.outbound_ignore),

            subnets: networks(&redirect.subnets_redirect),
            subnets_ignore: networks(&redirect.subnets_ignore),
            held: redirect.failure_policy == FailurePolicy::Closed,
            proxy,
            guard,
        }
    }

    /// The same plan for inbound traffic only. The chain for outbound traffic is laid all the same, so that connections
    /// that went through it go on, but nothing leads into it.
    #[must_use]
    pub fn inbound_only(mut self) -> Self {
        self.outbound = false;
        self
    }

    /// The chains that traffic is led into.
    pub(super) fn jumps_to(&self, chain: Chain) -> bool {
        chain == Chain::Redirect || self.outbound
    }

    /// The families that get rules; of the other one, every rule of ours is removed.
    pub fn families(&self) -> &'static [Family] {
        if self.ipv6 {
            &[Family::V4, Family::V6]
        } else {
            &[Family::V4]
        }
    }

    /// Whether what is there of it stays when the rest cannot be applied (`FailurePolicy: closed`).
    pub fn is_held(&self) -> bool {
        self.held
    }

    /// Everything that is never redirected, each with its reason as `Display`.
    pub fn guard_rails(&self) -> &[GuardRail] {
        &self.guard
    }
}

/// The same addresses in the fewest networks: those that lie in one another or side by side become one.
fn networks(nets: &[IpNet]) -> Vec<IpNet> {
    let truncated: Vec<IpNet> = nets.iter().map(IpNet::trunc).collect();
    IpNet::aggregate(&truncated)
}
