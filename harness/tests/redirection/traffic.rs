//! What becomes of connections.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};

use linkerd_harness_core::config::Mode;
use linkerd_harness_core::redirect::{Chain, State};

use crate::backends::removed;
use crate::netns::Net;
use crate::setup::{
    PROXY, apply, cleanup, listing, look, mk_plan, mk_plan_of, mk_redirect, prepare_connections,
    state, withdraw,
};

pub(crate) fn mk_net() -> Net {
    let net = Net::new();
    for (port, label) in [
        (80, "app"),
        (22, "sshd"),
        (4567, "ignored"),
        (4191, "admin"),
        (4143, "inbound"),
        (4140, "outbound"),
        (4150, "outbound of IPv6"),
    ] {
        net.vm.serve(port, label);
    }
    for port in [80, 4567, 8081] {
        net.peer.serve(port, "peer");
    }
    net.container.serve(80, "container");
    net
}

pub(crate) fn new_connections_go_through_the_proxy_and_the_rest_is_left_alone(mode: Mode) {
    let net = mk_net();
    let Net { peer, vm, .. } = &net;
    assert_eq!(peer.ask("10.77.0.1:80"), "app 10.77.0.1:80");
    assert_eq!(state(vm, mode, &mk_plan()), State::Absent);
    apply(vm, mode, &mk_plan());
    assert_eq!(state(vm, mode, &mk_plan()), State::Applied);
    let rules = listing(vm, mode);
    apply(vm, mode, &mk_plan());
    assert_eq!(listing(vm, mode), rules, "applying again changes nothing");

    for (to, who) in [
        ("10.77.0.1:80", "inbound 10.77.0.1:80"),
        ("10.77.0.1:9999", "inbound 10.77.0.1:9999"),
        ("10.77.0.1:22", "sshd 10.77.0.1:22"),
        ("10.77.0.1:4567", "ignored 10.77.0.1:4567"),
        ("10.77.0.1:4191", "admin 10.77.0.1:4191"),
        ("10.78.0.2:80", "container 10.78.0.2:80"),
    ] {
        assert_eq!(peer.ask(to), who, "from the peer to {to}\n{rules}");
    }
    for (to, who) in [
        ("10.77.0.2:80", "outbound 10.77.0.2:80"),
        ("10.77.0.2:9999", "outbound 10.77.0.2:9999"),
        ("10.77.0.2:4567", "peer 10.77.0.2:4567"),
        ("10.77.0.2:8081", "peer 10.77.0.2:8081"),
        ("127.0.0.1:80", "app 127.0.0.1:80"),
        ("10.77.0.1:80", "app 10.77.0.1:80"),
    ] {
        assert_eq!(vm.ask(to), who, "from the VM to {to}\n{rules}");
    }
    assert_eq!(vm.ask_as(PROXY, "10.77.0.2:80"), "peer 10.77.0.2:80");
    assert_eq!(vm.ask_as(PROXY, "10.77.0.1:80"), "app 10.77.0.1:80");

    assert_eq!(cleanup(vm), [removed(mode)]);
    assert_eq!(state(vm, mode, &mk_plan()), State::Absent);
    assert_eq!(peer.ask("10.77.0.1:80"), "app 10.77.0.1:80");
    assert_eq!(vm.ask("10.77.0.2:80"), "peer 10.77.0.2:80");
}

pub(crate) fn connections_that_are_open_survive_reapply_and_withdrawal(mode: Mode) {
    let net = mk_net();
    let Net { peer, vm, .. } = &net;
    apply(vm, mode, &mk_plan());
    let mut inbound = peer.connect_as(0, "10.77.0.1:80").unwrap();
    let mut outbound = vm.connect_as(0, "10.77.0.2:80").unwrap();
    let mut ssh = peer.connect_as(0, "10.77.0.1:22").unwrap();
    apply(vm, mode, &mk_plan());
    assert_eq!(
        [inbound.echoes(), outbound.echoes(), ssh.echoes()],
        [true; 3],
        "inbound, outbound, ssh after apply"
    );
    withdraw(vm, mode);
    assert_eq!(
        [inbound.echoes(), outbound.echoes(), ssh.echoes()],
        [true; 3],
        "inbound, outbound, ssh after withdrawal"
    );
    let mut plain = peer.connect_as(0, "10.77.0.1:80").unwrap();
    assert_eq!(plain.greeting, "app 10.77.0.1:80");
    apply(vm, mode, &mk_plan());
    assert!(
        plain.echoes() && inbound.echoes(),
        "after the rules came back"
    );
    withdraw(vm, mode);
    withdraw(vm, mode);
    assert_eq!(
        cleanup(vm).len(),
        1,
        "what withdrawal leaves, cleanup finds"
    );
}

pub(crate) fn outbound_can_be_left_out_and_comes_back(mode: Mode) {
    let net = mk_net();
    let Net { peer, vm, .. } = &net;
    apply(vm, mode, &mk_plan());
    let mut open = vm.connect_as(0, "10.77.0.2:80").unwrap();
    assert_eq!(open.greeting, "outbound 10.77.0.2:80");
    let inbound = mk_plan().inbound_only();
    assert!(matches!(state(vm, mode, &inbound), State::Drifted(_)));
    apply(vm, mode, &inbound);
    assert_eq!(state(vm, mode, &inbound), State::Applied);
    assert_eq!(vm.ask("10.77.0.2:80"), "peer 10.77.0.2:80");
    assert_eq!(peer.ask("10.77.0.1:80"), "inbound 10.77.0.1:80");
    assert!(open.echoes(), "what went through the proxy goes on");
    apply(vm, mode, &mk_plan());
    assert_eq!(vm.ask("10.77.0.2:80"), "outbound 10.77.0.2:80");
    cleanup(vm);
    assert_eq!(state(vm, mode, &inbound), State::Absent);
}

pub(crate) fn connections_that_were_open_before_the_first_rule_carry_on(mode: Mode) {
    let net = mk_net();
    let Net { peer, vm, .. } = &net;
    let mut inbound = peer.connect_as(0, "10.77.0.1:80").unwrap();
    let mut outbound = vm.connect_as(0, "10.77.0.2:80").unwrap();
    prepare_connections(vm, mode);
    assert_eq!(peer.ask("10.77.0.1:80"), "app 10.77.0.1:80");
    assert!(inbound.echoes() && outbound.echoes());
    apply(vm, mode, &mk_plan());
    assert_eq!(peer.ask("10.77.0.1:80"), "inbound 10.77.0.1:80");
    assert_eq!(
        [inbound.echoes(), outbound.echoes()],
        [true; 2],
        "inbound, outbound after the first apply"
    );
    cleanup(vm);
    assert_eq!(state(vm, mode, &mk_plan()), State::Absent);
}

pub(crate) fn subnets_and_ports_limit_what_is_redirected(mode: Mode) {
    let net = mk_net();
    let Net { peer, vm, .. } = &net;
    let mut redirect = mk_redirect(false);
    redirect.inbound_ports = vec!["80".parse().unwrap(), "9000-9010".parse().unwrap()];
    redirect.subnets_redirect = vec![
        "10.77.0.0/16".parse().unwrap(),
        "192.0.2.7/32".parse().unwrap(),
    ];
    redirect.subnets_ignore = vec![
        "10.79.1.9/16".parse().unwrap(),
        "203.0.113.0/24".parse().unwrap(),
    ];
    redirect.inbound_ignore = (0..40)
        .map(|n| (20_000 + 2 * n).to_string().parse().unwrap())
        .collect();
    let plan = mk_plan_of(&redirect);
    apply(vm, mode, &plan);
    // What the kernel says of itself is what we said: every kind of rule is in our canonical form.
    assert_eq!(
        state(vm, mode, &plan),
        State::Applied,
        "{}",
        listing(vm, mode)
    );
    assert_eq!(peer.ask("10.77.0.1:80"), "inbound 10.77.0.1:80");
    assert_eq!(peer.ask("10.77.0.1:9010"), "inbound 10.77.0.1:9010");
    assert_eq!(peer.ask("10.77.0.1:4140"), "outbound 10.77.0.1:4140");
    assert_eq!(vm.ask("10.77.0.2:80"), "outbound 10.77.0.2:80");
    assert_eq!(vm.ask("10.78.0.2:80"), "container 10.78.0.2:80");

    redirect.subnets_redirect = vec!["0.0.0.0/0".parse().unwrap()];
    redirect.subnets_ignore = vec!["10.77.0.2/32".parse().unwrap()];
    let plan = mk_plan_of(&redirect);
    apply(vm, mode, &plan);
    assert_eq!(
        state(vm, mode, &plan),
        State::Applied,
        "{}",
        listing(vm, mode)
    );
    assert_eq!(peer.ask("10.77.0.1:80"), "app 10.77.0.1:80");
    assert_eq!(vm.ask("10.77.0.2:80"), "peer 10.77.0.2:80");
    assert_eq!(vm.ask("10.78.0.2:80"), "outbound 10.78.0.2:80");
}

pub(crate) fn each_rule_counts_the_connections_that_it_matched(mode: Mode) {
    let net = mk_net();
    let Net { peer, vm, .. } = &net;
    apply(vm, mode, &mk_plan());
    for to in ["10.77.0.1:80", "10.77.0.1:81", "10.77.0.1:22"] {
        peer.ask(to);
    }
    let rules = look(vm, mode, &mk_plan()).rules;
    let counted = |purpose: &str| {
        let mut found = rules.iter().filter(|rule| rule.purpose == purpose);
        let (rule, more) = (found.next().unwrap(), found.next());
        assert_eq!(more, None);
        (rule.chain, rule.matched.packets)
    };
    for (purpose, connections) in [
        ("install-proxy-init-prerouting", 3),
        ("ignore-sshd-port-22", 1),
        ("redirect-all-incoming-to-proxy-port", 2),
    ] {
        assert_eq!(
            counted(purpose),
            (Chain::Redirect, connections),
            "{purpose} in {rules:#?}"
        );
    }
    assert_eq!(counted("ignore-loopback"), (Chain::Output, 0));
}

pub(crate) fn both_families_come_and_go_together(mode: Mode) {
    let net = mk_net();
    let Net { peer, vm, .. } = &net;
    let both = mk_plan_of(&mk_redirect(true));
    apply(vm, mode, &both);
    assert_eq!(state(vm, mode, &both), State::Applied);
    assert_eq!(peer.ask("[fd77::1]:80"), "inbound [fd77::1]:80");
    assert_eq!(vm.ask("[fd77::2]:80"), "outbound of IPv6 [fd77::2]:80");
    assert_eq!(peer.ask("[fd77::1]:22"), "sshd [fd77::1]:22");
    assert_eq!(vm.ask("[::1]:80"), "app [::1]:80");
    assert_eq!(vm.ask_as(PROXY, "[fd77::2]:80"), "peer [fd77::2]:80");
    assert_eq!(peer.ask("10.77.0.1:80"), "inbound 10.77.0.1:80");
    apply(vm, mode, &mk_plan());
    assert_eq!(
        peer.ask("[fd77::1]:80"),
        "app [fd77::1]:80",
        "IPv4 only: nothing of IPv6 is left"
    );
    assert_eq!(peer.ask("10.77.0.1:80"), "inbound 10.77.0.1:80");
    assert_eq!(cleanup(vm).len(), 1);
}

/// Connections that all plans redirect go to the proxy, those that all exempt do not, at every moment in between.
pub(crate) fn nobody_goes_astray_while_the_plan_changes(mode: Mode) {
    const ROUNDS: usize = 40;
    let net = mk_net();
    let Net { peer, vm, .. } = &net;
    // Large sets, so that there is time between the first and the last element of a change, and different ones, so that
    // each change makes and deletes some.
    let plans = [1, 2, 3].map(|step| {
        let mut redirect = mk_redirect(false);
        let others = (0..500).map(|n| (10_000 + n * (step + 1)).to_string());
        let ports = others.chain(["4567".to_owned()]);
        redirect.inbound_ignore = ports.map(|port| port.parse().unwrap()).collect();
        mk_plan_of(&redirect)
    });
    apply(vm, mode, &plans[0]);
    let mut through = peer.connect_as(0, "10.77.0.1:80").unwrap();
    let over = AtomicBool::new(false);
    let astray = std::thread::scope(|scope| {
        let asking = |to: &'static str, who: &'static str| {
            let over = &over;
            scope.spawn(move || {
                peer.inside(|| {
                    let (mut astray, mut asked) = (vec![], 0);
                    while !over.load(Ordering::Relaxed) {
                        astray.extend(Some(ask(to)).filter(|answer| answer.trim_end() != who));
                        asked += 1;
                    }
                    assert!(asked > 10, "only {asked} connections were made");
                    astray
                })
            })
        };
        let asking = [
            asking("10.77.0.1:4567", "ignored 10.77.0.1:4567"),
            asking("10.77.0.1:4567", "ignored 10.77.0.1:4567"),
            asking("10.77.0.1:4567", "ignored 10.77.0.1:4567"),
            asking("10.77.0.1:80", "inbound 10.77.0.1:80"),
        ];
        for plan in plans.iter().cycle().take(ROUNDS) {
            apply(vm, mode, plan);
        }
        over.store(true, Ordering::Relaxed);
        asking.map(|thread| thread.join().unwrap()).concat()
    });
    assert_eq!(astray, [""; 0]);
    assert!(through.echoes(), "what was open stays open");
}

/// Who answers, or why nobody does.
fn ask(to: &str) -> String {
    let mut greeting = String::new();
    let read =
        TcpStream::connect(to).and_then(|stream| BufReader::new(stream).read_line(&mut greeting));
    read.map_or_else(|error| error.to_string(), |_| greeting)
}
