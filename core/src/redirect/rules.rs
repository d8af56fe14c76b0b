//! A plan's rules, chain by chain, in the order in which the kernel asks them.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use ipnet::IpNet;

use super::guard::GuardRail;
use super::plan::Plan;
use super::ports::{Multiport, PortSet};
use super::purpose::Purpose;
use super::rule::{Chain, Family, Match, Rule, Target};

/// The rule that brings traffic into a chain of ours.
pub(super) fn jump(chain: Chain) -> Rule {
    let (matches, purpose) = match chain {
        // Only what is addressed to this host: forwarded and bridged traffic passes untouched.
        Chain::Redirect => (vec![Match::LocalDestination], Purpose::JumpInbound),
        Chain::Output => (vec![], Purpose::JumpOutbound),
    };
    Rule {
        matches,
        purpose,
        target: Target::Jump(chain),
    }
}

/// The rules of a chain of ours.
pub(super) fn rules(plan: &Plan, family: Family, chain: Chain) -> Vec<Rule> {
    match chain {
        Chain::Redirect => inbound(plan, family),
        Chain::Output => outbound(plan, family),
    }
}

fn inbound(plan: &Plan, family: Family) -> Vec<Rule> {
    let sshd = guarded_ports(plan, |rail| match rail {
        GuardRail::Sshd { port, .. } => Some(*port),
        _ => None,
    });
    let admin = guarded_ports(plan, |rail| match rail {
        GuardRail::AdminPort(port) => Some(*port),
        _ => None,
    });
    let mut rules = Vec::new();
    rules.extend(ignore_ports(&plan.inbound_ignore, Purpose::IgnorePorts));
    rules.extend(ignore_ports(&sshd, Purpose::IgnoreSshd));
    rules.extend(ignore_ports(&admin, Purpose::IgnoreAdminPorts));
    for rail in &plan.guard {
        if let GuardRail::SshSession { peer, port } = rail
            && !sshd.contains(*port)
            && let Some(peer) = Some(IpNet::from(*peer)).filter(|net| family.has(net))
        {
            rules.push(Rule {
                matches: vec![
                    Match::Source(peer),
                    Match::Tcp,
                    Match::DestinationPort(*port),
                ],
                purpose: Purpose::IgnoreSshSession(*port),
                target: Target::Return,
            });
        }
    }
    for net in plan.subnets_ignore.iter().filter(|net| family.has(net)) {
        rules.push(Rule {
            matches: address(Match::Source, *net),
            purpose: Purpose::IgnoreSubnet(*net),
            target: Target::Return,
        });
    }
    let target = Target::RedirectTo(plan.proxy.inbound);
    if plan.inbound.is_empty() {
        rules.push(Rule {
            matches: vec![Match::Tcp],
            purpose: Purpose::RedirectInbound,
            target,
        });
    }
    rules.extend(port_rules(
        &plan.inbound,
        Purpose::RedirectInboundPorts,
        target,
    ));
    rules
}

fn outbound(plan: &Plan, family: Family) -> Vec<Rule> {
    let mut rules = vec![
        // The proxy's and the harness's own traffic: without this first rule the proxy would be sent to itself.
        Rule {
            matches: vec![Match::Owner(plan.uid)],
            purpose: Purpose::IgnoreProxyUser,
            target: Target::Return,
        },
        Rule {
            matches: vec![Match::OutLoopback],
            purpose: Purpose::IgnoreLoopback,
            target: Target::Return,
        },
    ];
    rules.extend(ignore_ports(&plan.outbound_ignore, Purpose::IgnorePorts));
    for net in plan.subnets_ignore.iter().filter(|net| family.has(net)) {
        rules.push(Rule {
            matches: address(Match::Destination, *net),
            purpose: Purpose::IgnoreSubnet(*net),
            target: Target::Return,
        });
    }
    rules.extend(plan.guard.iter().filter_map(|rail| match rail {
        GuardRail::Metadata(net) => family.has(net).then(|| Rule {
            matches: address(Match::Destination, *net),
            purpose: Purpose::IgnoreMetadata(*net),
            target: Target::Return,
        }),
        GuardRail::ControlPlane(addr) => {
            ignore_endpoint(*addr, family, Purpose::IgnoreControlPlane)
        }
        GuardRail::SpireServer(addr) => ignore_endpoint(*addr, family, Purpose::IgnoreSpireServer),
        GuardRail::Sshd { .. } | GuardRail::SshSession { .. } | GuardRail::AdminPort(_) => None,
    }));
    let target = Target::RedirectTo(plan.proxy.outbound(family));
    if plan.subnets.is_empty() {
        rules.push(Rule {
            matches: vec![Match::Tcp],
            purpose: Purpose::RedirectOutbound,
            target,
        });
    }
    for net in plan.subnets.iter().filter(|net| family.has(net)) {
        rules.push(Rule {
            matches: address(Match::Destination, *net)
                .into_iter()
                .chain([Match::Tcp])
                .collect(),
            purpose: Purpose::RedirectOutboundSubnet(*net),
            target,
        });
    }
    rules
}

fn guarded_ports(plan: &Plan, port: impl Fn(&GuardRail) -> Option<u16>) -> PortSet {
    let ports: BTreeSet<u16> = plan.guard.iter().filter_map(port).collect();
    ports.into_iter().collect()
}

fn ignore_ports(ports: &PortSet, purpose: fn(Multiport) -> Purpose) -> Vec<Rule> {
    port_rules(ports, purpose, Target::Return)
}

fn port_rules(ports: &PortSet, purpose: fn(Multiport) -> Purpose, target: Target) -> Vec<Rule> {
    let rule = |ports: Multiport| Rule {
        matches: vec![Match::Tcp, Match::DestinationPorts(ports.clone())],
        purpose: purpose(ports),
        target,
    };
    ports.multiports().into_iter().map(rule).collect()
}

/// Address and port, not the address alone: a host of the control plane may serve meshed workloads too.
fn ignore_endpoint(addr: SocketAddr, family: Family, purpose: fn(u16) -> Purpose) -> Option<Rule> {
    let net = IpNet::from(addr.ip());
    family.has(&net).then(|| Rule {
        matches: vec![
            Match::Destination(net),
            Match::Tcp,
            Match::DestinationPort(addr.port()),
        ],
        purpose: purpose(addr.port()),
        target: Target::Return,
    })
}

/// The match on a network; none for the whole address space, which `iptables-save` leaves out too.
fn address(which: fn(IpNet) -> Match, net: IpNet) -> Vec<Match> {
    if net.prefix_len() == 0 {
        vec![]
    } else {
        vec![which(net.trunc())]
    }
}
