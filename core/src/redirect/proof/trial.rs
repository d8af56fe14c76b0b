//! Which connections to try for a plan.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::Direction;
use crate::redirect::guard::GuardRail;
use crate::redirect::plan::Plan;
use crate::redirect::rule::Family;

/// Dialled where nothing else is asked for; Linkerd's network-validator dials it too. Nobody is known to listen there.
const PORT: u16 = 1404;

/// Addresses for documentation (RFC 5737, RFC 3849): outbound connections that are not redirected reach nobody.
pub const NOBODY: [IpAddr; 4] = [
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)),
    IpAddr::V4(Ipv4Addr::new(198, 51, 100, 2)),
    IpAddr::V4(Ipv4Addr::new(203, 0, 113, 2)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2)),
];

/// One connection to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trial {
    /// Which way.
    pub direction: Direction,
    /// Which family.
    pub family: Family,
    /// The port to dial; `None` when the plan redirects none.
    pub port: Option<u16>,
    /// Outbound: where to, the best first. Inbound: empty, for it is an address of this host.
    pub to: Vec<IpAddr>,
    /// The proxy's port, where it must arrive.
    pub proxy_port: u16,
}

/// What whoever asks knows better than the configuration. It may come from a less privileged process: nothing in it can
/// lead to a connection to anywhere that the plan does not redirect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// Whether outbound traffic is redirected now.
    pub outbound: bool,
    /// A port of the workload, best dialled inbound.
    pub port: Option<u16>,
}

impl Default for Wish {
    fn default() -> Self {
        Self {
            outbound: true,
            port: None,
        }
    }
}

impl Wish {
    /// What this plan redirects.
    pub fn of(plan: &Plan, port: Option<u16>) -> Self {
        Self {
            outbound: plan.outbound,
            port,
        }
    }
}

/// What to try: each direction and family of the plan.
pub fn trials(plan: &Plan, wish: Wish) -> Vec<Trial> {
    let trial = |direction, family| match direction {
        Direction::Inbound => Trial {
            direction,
            family,
            port: ports(wish.port).find(|port| plan.takes_in(*port)),
            to: vec![],
            proxy_port: plan.proxy.inbound,
        },
        Direction::Outbound => {
            let port = ports(None).find(|port| !plan.outbound_ignore.contains(*port));
            let all = NOBODY.into_iter().chain(plan.subnets.iter().map(inside));
            Trial {
                direction,
                family,
                port,
                to: all
                    .filter(|to| family.has(&IpNet::from(*to)))
                    .filter(|to| plan.takes_out(*to))
                    .collect(),
                proxy_port: plan.proxy.outbound(family),
            }
        }
    };
    Direction::ALL
        .into_iter()
        .filter(|direction| *direction == Direction::Inbound || wish.outbound && plan.outbound)
        .flat_map(|direction| {
            plan.families()
                .iter()
                .map(move |family| trial(direction, *family))
        })
        .collect()
}

fn ports(first: Option<u16>) -> impl Iterator<Item = u16> {
    first.into_iter().chain([PORT]).chain(1..=u16::MAX)
}

/// An address of a network that is as little in use as any: next to its last.
fn inside(net: &IpNet) -> IpAddr {
    if net.prefix_len() + 1 >= net.max_prefix_len() {
        return net.network();
    }
    match net.broadcast() {
        IpAddr::V4(last) => Ipv4Addr::from(u32::from(last) - 1).into(),
        IpAddr::V6(last) => Ipv6Addr::from(u128::from(last) - 1).into(),
    }
}

impl Plan {
    /// Whether connections to this port of this host are redirected. The proxy's own ports are none that could show it.
    fn takes_in(&self, port: u16) -> bool {
        let own = [
            self.proxy.inbound,
            self.proxy.outbound,
            self.proxy.outbound_v6,
        ];
        let guarded = self.guard.iter().any(|rail| match rail {
            GuardRail::Sshd { port: guarded, .. }
            | GuardRail::SshSession { port: guarded, .. }
            | GuardRail::AdminPort(guarded) => *guarded == port,
            _ => false,
        });
        port != 0
            && !guarded
            && !own.contains(&port)
            && !self.inbound_ignore.contains(port)
            && (self.inbound.is_empty() || self.inbound.contains(port))
    }

    /// Whether connections from this address of another host are redirected, as far as the address matters.
    pub fn takes_from(&self, from: IpAddr) -> bool {
        !self.subnets_ignore.iter().any(|net| net.contains(&from))
    }

    /// Whether connections to this address of another host are redirected, as far as the address matters.
    pub fn takes_out(&self, to: IpAddr) -> bool {
        let guarded = self.guard.iter().any(|rail| match rail {
            GuardRail::Metadata(net) => net.contains(&to),
            GuardRail::ControlPlane(addr) | GuardRail::SpireServer(addr) => addr.ip() == to,
            _ => false,
        });
        !guarded
            && !self.subnets_ignore.iter().any(|net| net.contains(&to))
            && (self.subnets.is_empty() || self.subnets.iter().any(|net| net.contains(&to)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{FailurePolicy, Mode, Redirect};
    use crate::redirect::{ProxyPorts, SshdFound};

    fn mk_redirect() -> Redirect {
        Redirect {
            inbound_ports: vec![],
            inbound_ignore: vec!["4567-4568".parse().unwrap()],
            outbound_ignore: vec![],
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
            outbound_v6: 4141,
            admin: vec![4190, 4191, 4192],
        };
        let sshd = GuardRail::Sshd {
            port: 1404,
            found: SshdFound::Listening,
        };
        Plan::new(redirect, ports, 1, [sshd])
    }

    fn told(plan: &Plan, wish: Wish) -> Vec<String> {
        trials(plan, wish)
            .iter()
            .map(|trial| {
                format!(
                    "{} {} {:?} {:?} -> {}",
                    trial.direction, trial.family, trial.port, trial.to, trial.proxy_port
                )
            })
            .collect()
    }

    #[test]
    fn each_direction_and_family_is_tried_where_the_plan_redirects() {
        let plan = mk_plan(&mk_redirect());
        assert_eq!(
            told(
                &plan,
                Wish {
                    outbound: true,
                    port: Some(80)
                }
            ),
            [
                "inbound IPv4 Some(80) [] -> 4143",
                "inbound IPv6 Some(80) [] -> 4143",
                "outbound IPv4 Some(1404) [192.0.2.2, 198.51.100.2, 203.0.113.2] -> 4140",
                "outbound IPv6 Some(1404) [2001:db8::2] -> 4141",
            ]
        );
    }

    #[test]
    fn a_port_that_is_not_redirected_is_never_dialled_whoever_asks_for_it() {
        let mut redirect = mk_redirect();
        redirect.ipv6 = false;
        for port in [22, 4143, 4191, 4567, 1404, 0] {
            let mut plan = mk_plan(&redirect);
            plan.guard.push(GuardRail::Sshd {
                port: 22,
                found: SshdFound::Assumed,
            });
            let wish = Wish {
                outbound: false,
                port: Some(port),
            };
            assert_eq!(
                told(&plan, wish),
                ["inbound IPv4 Some(1) [] -> 4143"],
                "{port}"
            );
        }
        redirect.inbound_ports = vec!["8080".parse().unwrap()];
        assert_eq!(
            told(&mk_plan(&redirect).inbound_only(), Wish::default()),
            ["inbound IPv4 Some(8080) [] -> 4143"]
        );
        redirect.inbound_ports = vec!["1404".parse().unwrap()];
        assert_eq!(
            told(&mk_plan(&redirect).inbound_only(), Wish::default()),
            ["inbound IPv4 None [] -> 4143"]
        );
    }

    #[test]
    fn addresses_are_of_the_subnets_that_are_redirected() {
        let mut redirect = mk_redirect();
        redirect.subnets_redirect = vec![
            "10.42.0.0/16".parse().unwrap(),
            "fd00::7/128".parse().unwrap(),
        ];
        redirect.subnets_ignore = vec!["198.18.0.0/16".parse().unwrap()];
        let plan = mk_plan(&redirect);
        let to: Vec<_> = trials(&plan, Wish::default())
            .into_iter()
            .map(|trial| trial.to)
            .collect();
        let ip = |text: &str| vec![text.parse::<IpAddr>().unwrap()];
        assert_eq!(to, [vec![], vec![], ip("10.42.255.254"), ip("fd00::7")]);
        assert!(!plan.takes_from("198.18.3.4".parse().unwrap()));
        assert!(plan.takes_from("198.19.3.4".parse().unwrap()));
    }
}
