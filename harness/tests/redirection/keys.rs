//! Keys of the configuration with hundreds of values: the kernel does what each of them says, in both families.

use linkerd_harness_core::config::Mode;
use linkerd_harness_core::redirect::{Plan, ProxyPorts, State};

use crate::netns::Net;
use crate::setup::{PROXY, apply, mk_plan_of, mk_redirect, state};
use crate::traffic::mk_net;

const REFUSED: &str = "Connection refused (os error 111)";

/// Every second of 1000, and one more.
fn ports<T: std::str::FromStr<Err: std::fmt::Debug>>(first: u16, more: &str) -> Vec<T> {
    let ports = (0..499).map(|n| (first + 2 * n).to_string());
    let all = ports.chain([more.to_owned()]);
    all.map(|port| port.parse().unwrap()).collect()
}

/// 249 of each family that do not touch one another, and these.
fn subnets<T: std::str::FromStr<Err: std::fmt::Debug>>(more: [&str; 2]) -> Vec<T> {
    let pair = |n| [format!("172.16.{n}.0/25"), format!("2001:db8:{n:x}::/64")];
    let nets = (0..249).flat_map(pair).chain(more.map(str::to_owned));
    nets.map(|net| net.parse().unwrap()).collect()
}

pub(crate) fn each_of_hundreds_of_ports_counts(mode: Mode) {
    let net = mk_net();
    let Net { peer, vm, .. } = &net;
    let mut redirect = mk_redirect(true);
    redirect.inbound_ports = ports(20_001, "9000-9010");
    redirect.inbound_ignore = ports(20_401, "9005");
    redirect.outbound_ignore = ports(30_001, "4567");
    let plan = mk_plan_of(&redirect);
    apply(vm, mode, &plan);
    assert_eq!(state(vm, mode, &plan), State::Applied);
    for (vm_address, peer_address, outbound) in [
        ("10.77.0.1", "10.77.0.2", "outbound"),
        ("[fd77::1]", "[fd77::2]", "outbound of IPv6"),
    ] {
        for (port, redirected) in [
            (20_001, true),
            (20_399, true),
            (20_400, false),
            // To be ignored comes first.
            (20_401, false),
            (20_997, false),
            (9000, true),
            (9005, false),
            (9010, true),
            (9011, false),
        ] {
            let to = format!("{vm_address}:{port}");
            let inbound = format!("inbound {to}");
            let who = if redirected { &inbound } else { REFUSED };
            assert_eq!(peer.ask(&to), who, "to {to}");
        }
        assert_eq!(
            peer.ask(&format!("{vm_address}:80")),
            format!("app {vm_address}:80")
        );
        for (port, who) in [
            (30_000, format!("{outbound} {peer_address}:30000")),
            (30_001, REFUSED.to_owned()),
            (30_997, REFUSED.to_owned()),
            (30_998, format!("{outbound} {peer_address}:30998")),
            (4567, format!("peer {peer_address}:4567")),
            (80, format!("{outbound} {peer_address}:80")),
        ] {
            assert_eq!(vm.ask(&format!("{peer_address}:{port}")), who);
        }
    }
}

pub(crate) fn each_of_hundreds_of_subnets_counts(mode: Mode) {
    let net = mk_net();
    let Net { peer, vm, .. } = &net;
    let mut redirect = mk_redirect(true);
    redirect.subnets_redirect = subnets(["10.77.0.2/32", "fd77::/64"]);
    let plan = mk_plan_of(&redirect);
    apply(vm, mode, &plan);
    assert_eq!(state(vm, mode, &plan), State::Applied);
    for (to, who) in [
        ("10.77.0.2:80", "outbound 10.77.0.2:80"),
        ("[fd77::2]:80", "outbound of IPv6 [fd77::2]:80"),
        ("10.78.0.2:80", "container 10.78.0.2:80"),
    ] {
        assert_eq!(vm.ask(to), who);
    }
    // It is about outbound traffic alone.
    assert_eq!(peer.ask("10.77.0.1:80"), "inbound 10.77.0.1:80");

    redirect.subnets_redirect = vec![];
    redirect.subnets_ignore = subnets(["10.77.0.0/24", "fd77::2/128"]);
    let plan = mk_plan_of(&redirect);
    apply(vm, mode, &plan);
    assert_eq!(state(vm, mode, &plan), State::Applied);
    for (to, who) in [
        ("10.77.0.2:80", "peer 10.77.0.2:80"),
        ("[fd77::2]:80", "peer [fd77::2]:80"),
        ("10.78.0.2:80", "outbound 10.78.0.2:80"),
    ] {
        assert_eq!(vm.ask(to), who);
    }
    for to in ["10.77.0.1:80", "[fd77::1]:80"] {
        assert_eq!(peer.ask(to), format!("app {to}"), "by its source");
    }
    assert_eq!(net.container.ask("10.77.0.1:80"), "inbound 10.77.0.1:80");
}

pub(crate) fn only_the_configured_uid_passes_by_the_proxy(mode: Mode) {
    const OTHER: u32 = 4242;
    let net = mk_net();
    let ports = ProxyPorts {
        inbound: 4143,
        outbound: 4140,
        outbound_v6: 4150,
        admin: vec![4190, 4191, 4192],
    };
    let plan = Plan::new(&mk_redirect(true), ports, OTHER, []);
    apply(&net.vm, mode, &plan);
    for (to, outbound) in [
        ("10.77.0.2:80", "outbound"),
        ("[fd77::2]:80", "outbound of IPv6"),
    ] {
        assert_eq!(net.vm.ask_as(OTHER, to), format!("peer {to}"));
        for uid in [0, PROXY, OTHER + 1] {
            assert_eq!(
                net.vm.ask_as(uid, to),
                format!("{outbound} {to}"),
                "as {uid}"
            );
        }
    }
}
