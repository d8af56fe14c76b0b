//! Rules of other programs beside ours.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use linkerd_harness::redirection::{
    Heard, Host, Inputs, Phase, Redirection, SWEEP, report, supervise,
};
use linkerd_harness_core::config::Mode;
use linkerd_harness_core::redirect::{Chain, Drift, State};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::backends::{ALL, name, removed};
use crate::netns::{Namespace, Net};
use crate::setup::{
    PROXY, RUN_DIR, apply, cleanup, is_redirected, is_there, listing, mk_plan, state, withdraw,
};

const FOREIGN: &str = "*raw\n:MY_RAW - [0:0]\n-A PREROUTING -p udp -m udp --dport 9 -j MY_RAW\n-A MY_RAW -j NOTRACK\nCOMMIT\n\
    *mangle\n-A POSTROUTING -p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu\n-A FORWARD -j MARK --set-xmark 0x1/0xffffffff\nCOMMIT\n\
    *filter\n:INPUT ACCEPT [0:0]\n:MY_FILTER - [0:0]\n-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n-A INPUT -s 203.0.113.0/24 -j MY_FILTER\n-A MY_FILTER -j DROP\nCOMMIT\n\
    *nat\n:DOCKER - [0:0]\n:MY_NAT - [0:0]\n-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER\n-A PREROUTING -p tcp -m tcp --dport 8443 -m comment --comment \"an admin's -j PROXY_INIT_REDIRECT\" -j MY_NAT\n\
    -A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER\n-A POSTROUTING -s 10.78.0.0/24 ! -o docker0 -j MASQUERADE\n-A DOCKER ! -i docker0 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 10.78.0.2:80\n-A MY_NAT -j RETURN\nCOMMIT\n";

/// Beside those of iptables. It has a base chain at our priority.
const FOREIGN_TABLE: &str = "table inet my_table {\n\tset mine {\n\t\ttype ipv4_addr\n\t\tflags interval\n\t\telements = { 203.0.113.0/24 }\n\t}\n\tchain pre {\n\t\ttype nat hook prerouting priority -101; policy accept;\n\t\tip saddr @mine tcp dport 7 redirect to :8\n\t}\n}\n";

fn restore(vm: &Namespace, mode: Mode, text: &str) {
    vm.run(
        &[&format!("iptables-{}-restore", name(mode)), "--noflush"],
        text,
    );
}

fn iptables(vm: &Namespace, mode: Mode, args: &str) {
    let program = format!("iptables-{}", name(mode));
    let words: Vec<&str> = [program.as_str(), "-w", "5"]
        .into_iter()
        .chain(args.split(' '))
        .collect();
    vm.run(&words, "");
}

fn nft(vm: &Namespace, change: &str) {
    vm.run(
        &["nft", "-f", "-"],
        &change
            .replace("; delete", "\ndelete")
            .replace("; add", "\nadd"),
    );
}

pub(crate) fn rules_of_others_are_byte_equal_after_removal(mode: Mode) {
    let vm = Namespace::new("vm");
    restore(&vm, mode, FOREIGN);
    vm.run(&["nft", "-f", "-"], FOREIGN_TABLE);
    let before = vm.rules(name(mode));
    let ruleset = listing(&vm, Mode::Nftables);
    assert!(
        before.lines().filter(|line| line.starts_with("-A")).count() >= 9,
        "{before}"
    );
    for _ in 0..2 {
        apply(&vm, mode, &mk_plan());
        let with_ours = vm.rules(name(mode));
        let theirs: String = with_ours
            .lines()
            .filter(|line| !line.contains("proxy-init/") && !line.starts_with(":PROXY_INIT_"))
            .map(|line| line.to_owned() + "\n")
            .collect();
        assert_eq!(theirs, before, "while ours are in place");
        if mode == Mode::Nftables {
            let ours = vm.run(
                &[
                    "nft",
                    "-s",
                    "list",
                    "table",
                    "inet",
                    "linkerd_proxy_harness",
                ],
                "",
            );
            let theirs = listing(&vm, mode).replace(&ours, "");
            assert_eq!(theirs, ruleset, "while ours is in place");
        }
    }
    assert_eq!(cleanup(&vm).len(), 1);
    assert_eq!(vm.rules(name(mode)), before);
    assert_eq!(listing(&vm, Mode::Nftables), ruleset);
}

pub(crate) fn a_crash_leaves_nothing_that_cleanup_needs_memory_for(mode: Mode) {
    let vm = Namespace::new("vm");
    let empty = listing(&vm, mode);
    assert_eq!(cleanup(&vm), [""; 0], "nothing there is no error");
    apply(&vm, mode, &mk_plan());
    // Strays that no plan of ours would make: chains without jumps, jumps from elsewhere, twice, and to one another.
    let strays = match mode {
        Mode::Nftables => {
            "table inet linkerd_proxy_harness {\n\tmap m {\n\t\ttype inet_service : verdict\n\t\telements = { 1 : jump proxy_init_output }\n\t}\n\tchain mine {\n\t\ttype nat hook prerouting priority 0;\n\t\ttcp dport vmap @m\n\t\tgoto proxy_init_redirect\n\t}\n}\n"
        }
        _ => {
            "*nat\n:MY_NAT - [0:0]\n-A MY_NAT -p tcp -j PROXY_INIT_OUTPUT\n-A PREROUTING -j PROXY_INIT_REDIRECT\n-A PREROUTING -j PROXY_INIT_REDIRECT\n-A PROXY_INIT_OUTPUT -g PROXY_INIT_REDIRECT\nCOMMIT\n"
        }
    };
    match mode {
        Mode::Nftables => {
            vm.run(&["nft", "-f", "-"], strays);
            assert!(matches!(state(&vm, mode, &mk_plan()), State::Drifted(_)));
            apply(&vm, mode, &mk_plan());
            assert_eq!(state(&vm, mode, &mk_plan()), State::Applied);
            vm.run(&["nft", "-f", "-"], strays);
        }
        _ => restore(&vm, mode, strays),
    }
    assert_eq!(cleanup(&vm), [removed(mode)]);
    assert_eq!(cleanup(&vm), [""; 0]);
    assert_eq!(listing(&vm, mode).replace(":MY_NAT -\n", ""), empty);
}

pub(crate) fn drift_is_seen_and_repaired(mode: Mode) {
    if mode == Mode::Nftables {
        return drift_of_our_table_is_seen_and_repaired();
    }
    let vm = Namespace::new("vm");
    let plan = mk_plan();
    apply(&vm, mode, &plan);
    let rules = vm.rules(name(mode));
    let flushed = |chain| Drift::RulesDiffer {
        chain,
        missing: 4,
        unwanted: 0,
    };
    for (change, seen) in [
        (
            "-t nat -I PREROUTING 1 -p tcp --dport 1 -j ACCEPT",
            vec![Drift::JumpMisplaced(Chain::Redirect)],
        ),
        (
            "-t nat -F PROXY_INIT_REDIRECT",
            vec![flushed(Chain::Redirect)],
        ),
        (
            "-t nat -F PREROUTING",
            vec![Drift::JumpMissing(Chain::Redirect)],
        ),
        (
            "-t nat -A OUTPUT -j PROXY_INIT_OUTPUT",
            vec![Drift::JumpMisplaced(Chain::Output)],
        ),
        (
            "-t nat -D PROXY_INIT_OUTPUT 2",
            vec![Drift::RulesDiffer {
                chain: Chain::Output,
                missing: 1,
                unwanted: 0,
            }],
        ),
        (
            "-t nat -I PROXY_INIT_OUTPUT 1 -j ACCEPT",
            vec![Drift::RulesDiffer {
                chain: Chain::Output,
                missing: 0,
                unwanted: 1,
            }],
        ),
    ] {
        iptables(&vm, mode, change);
        assert_eq!(
            state(&vm, mode, &plan),
            State::Drifted(seen),
            "after {change}"
        );
        apply(&vm, mode, &plan);
        assert_eq!(
            state(&vm, mode, &plan),
            State::Applied,
            "after {change} and repair"
        );
        vm.run(&["sh", "-c", &format!("iptables-{} -t nat -D PREROUTING -p tcp --dport 1 -j ACCEPT 2>/dev/null || true", name(mode))], "");
        assert_eq!(vm.rules(name(mode)), rules, "after {change} and repair");
    }
    iptables(&vm, mode, "-t nat -F");
    iptables(&vm, mode, "-t nat -X");
    assert_eq!(state(&vm, mode, &plan), State::Absent);
}

fn drift_of_our_table_is_seen_and_repaired() {
    const MODE: Mode = Mode::Nftables;
    const OURS: &str = "inet linkerd_proxy_harness";
    let vm = Namespace::new("vm");
    let plan = mk_plan();
    apply(&vm, MODE, &plan);
    let rules = listing(&vm, MODE);
    let set = rules
        .split_whitespace()
        .find(|word| word.starts_with("ignore_metadata_"));
    let set = set.unwrap().to_owned();
    let handle = {
        let all = vm.run(
            &[
                "nft",
                "-a",
                "list",
                "chain",
                "inet",
                "linkerd_proxy_harness",
                "proxy_init_output",
            ],
            "",
        );
        let line = all
            .lines()
            .find(|line| line.contains("ignore-loopback"))
            .unwrap()
            .to_owned();
        line.rsplit(' ').next().unwrap().to_owned()
    };
    let differs = |chain, missing, unwanted| Drift::RulesDiffer {
        chain,
        missing,
        unwanted,
    };
    for (change, seen) in [
        (
            format!("delete rule {OURS} proxy_init_output handle {handle}"),
            differs(Chain::Output, 1, 0),
        ),
        (
            format!("insert rule {OURS} proxy_init_output accept"),
            differs(Chain::Output, 0, 1),
        ),
        (
            format!("flush chain {OURS} proxy_init_redirect"),
            differs(Chain::Redirect, 4, 0),
        ),
        (
            format!("insert rule {OURS} prerouting tcp dport 1 accept"),
            Drift::JumpMisplaced(Chain::Redirect),
        ),
        (
            format!("add rule {OURS} output jump proxy_init_output"),
            Drift::JumpMisplaced(Chain::Output),
        ),
        (
            format!("flush chain {OURS} prerouting"),
            Drift::JumpMissing(Chain::Redirect),
        ),
        (
            format!(
                "flush chain {OURS} output; delete chain {OURS} output; add chain {OURS} output {{ type nat hook output priority 100; }}; add rule {OURS} output jump proxy_init_output"
            ),
            Drift::NotHooked(Chain::Output),
        ),
        (
            format!("delete element {OURS} {set} {{ 169.254.0.0/16 }}"),
            Drift::SetDiffers(set.clone()),
        ),
        (
            format!("add element {OURS} {set} {{ 10.0.0.0/8 }}"),
            Drift::SetDiffers(set.clone()),
        ),
        (
            format!("add set {OURS} mine {{ type mark; }}"),
            Drift::NotOurs("set mine".to_owned()),
        ),
        (
            format!("add chain {OURS} mine {{ type nat hook output priority -150; }}"),
            Drift::NotOurs("chain mine".to_owned()),
        ),
        (
            format!("add table {OURS} {{ flags dormant; }}"),
            Drift::NotOurs("flags dormant".to_owned()),
        ),
    ] {
        nft(&vm, &change);
        assert_eq!(
            state(&vm, MODE, &plan),
            State::Drifted(vec![seen]),
            "after {change}"
        );
        apply(&vm, MODE, &plan);
        assert_eq!(
            state(&vm, MODE, &plan),
            State::Applied,
            "after {change} and repair"
        );
        assert_eq!(listing(&vm, MODE), rules, "after {change} and repair");
    }
    for change in ["flush ruleset", "delete table inet linkerd_proxy_harness"] {
        nft(&vm, change);
        assert_eq!(state(&vm, MODE, &plan), State::Absent);
        apply(&vm, MODE, &plan);
        assert_eq!(listing(&vm, MODE), rules, "after {change} and repair");
    }
}

pub(crate) fn published_container_ports_are_meshed_whoever_starts_first(mode: Mode) {
    const DOCKER: &str = "*nat\n:DOCKER - [0:0]\n-I PREROUTING -m addrtype --dst-type LOCAL -j DOCKER\n-I OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER\n-A DOCKER -p tcp -m tcp --dport 8080 -j DNAT --to-destination 10.78.0.2:80\nCOMMIT\n";
    // A table of our own comes first by its priority, wherever Docker's rules are.
    let dockers: &[Mode] = match mode {
        Mode::Nftables => &[Mode::Nft, Mode::Legacy],
        _ => &[mode],
    };
    let cases = [true, false]
        .into_iter()
        .flat_map(|first| dockers.iter().map(move |docker| (first, *docker)));
    for (docker_first, docker) in cases {
        let net = Net::new();
        let Net {
            peer,
            vm,
            container,
        } = &net;
        vm.serve(4143, "inbound");
        vm.serve(4140, "outbound");
        container.serve(80, "container");
        peer.serve(80, "peer");
        if docker_first {
            restore(vm, docker, DOCKER);
            assert_eq!(peer.ask("10.77.0.1:8080"), "container 10.78.0.2:80");
            apply(vm, mode, &mk_plan());
        } else {
            apply(vm, mode, &mk_plan());
            restore(vm, docker, DOCKER);
            if mode != Mode::Nftables {
                let misplaced = Chain::ALL.map(Drift::JumpMisplaced).to_vec();
                assert_eq!(state(vm, mode, &mk_plan()), State::Drifted(misplaced));
                apply(vm, mode, &mk_plan());
            }
        }
        assert_eq!(state(vm, mode, &mk_plan()), State::Applied);
        assert_eq!(peer.ask("10.77.0.1:8080"), "inbound 10.77.0.1:8080");
        assert_eq!(
            vm.ask_as(PROXY, "10.77.0.1:8080"),
            "container 10.78.0.2:80",
            "the proxy reaches the container"
        );
        assert_eq!(
            container.ask("10.77.0.2:80"),
            "peer 10.77.0.2:80",
            "the container's own traffic is left alone"
        );
    }
}

pub(crate) fn a_change_of_mode_leaves_nothing_in_the_other_backends(mode: Mode) {
    let others = ALL.into_iter().filter(|other| *other != mode);
    for other in others {
        let Net { peer, vm, .. } = &Net::new();
        vm.serve(4143, "inbound");
        apply(vm, other, &mk_plan());
        let mut open = peer.connect_as(0, "10.77.0.1:80").unwrap();
        apply(vm, mode, &mk_plan());
        assert_eq!(state(vm, mode, &mk_plan()), State::Applied);
        for left in ALL.into_iter().filter(|left| *left != mode) {
            assert!(!is_there(vm, left), "from {other:?}: {}", listing(vm, left));
        }
        assert!(open.echoes(), "what was redirected from {other:?}");
        assert_eq!(peer.ask("10.77.0.1:80"), "inbound 10.77.0.1:80");
        // A withdrawal reaches what another mode left.
        apply(vm, other, &mk_plan());
        withdraw(vm, mode);
        assert!(!is_redirected(vm, other), "{}", listing(vm, other));
    }
}

pub(crate) fn the_owner_repairs_what_others_flush(mode: Mode) {
    let vm = Namespace::new("vm");
    vm.block_on(async {
        let (firewall, _) = Host::open(mode, Path::new(RUN_DIR)).await.unwrap();
        let (plans, plans_in) = watch::channel(Some(Arc::new(mk_plan())));
        let (phase_out, mut phase) = watch::channel(Redirection::default());
        let (reports_out, mut reports) = watch::channel(report::starting());
        let owner = tokio::spawn(supervise(
            firewall,
            Inputs {
                plans: plans_in,
                heard: watch::Sender::new(Heard::default()).subscribe(),
                sweep: SWEEP,
            },
            phase_out,
            reports_out,
            watch::Sender::new(None),
        ));
        let limit = Duration::from_secs(60);
        timeout(limit, reports.wait_for(|report| report.reason == "Applied"))
            .await
            .unwrap()
            .unwrap();
        match mode {
            Mode::Nftables => nft(
                &vm,
                "flush chain inet linkerd_proxy_harness proxy_init_output",
            ),
            _ => iptables(&vm, mode, "-t nat -F PROXY_INIT_OUTPUT"),
        }
        timeout(
            limit,
            reports.wait_for(|report| report.reason == "Repaired"),
        )
        .await
        .unwrap()
        .unwrap();
        let state = *phase.borrow();
        assert_eq!((state.phase, state.repairs), (Phase::Applied, 1));
        plans.send_replace(None);
        timeout(limit, phase.wait_for(|state| state.phase == Phase::Removed))
            .await
            .unwrap()
            .unwrap();
        owner.abort();
    });
    assert!(!is_redirected(&vm, mode));
}
