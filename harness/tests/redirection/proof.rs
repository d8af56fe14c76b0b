//! Connections through the redirection, as root's helper makes them. The proxy is played by listeners.

use std::time::{Duration, Instant};

use linkerd_harness::proof::prove;
use linkerd_harness_core::config::Mode;
use linkerd_harness_core::redirect::Plan;
use linkerd_harness_core::redirect::proof::Wish;

use crate::backends::name;
use crate::netns::{Namespace, Net};
use crate::setup::{apply, cleanup, mk_plan, mk_plan_of, mk_redirect, withdraw};

const WISH: Wish = Wish {
    outbound: true,
    port: Some(80),
};

pub(crate) fn mk_both() -> Plan {
    mk_plan_of(&mk_redirect(true))
}

/// A VM with a way to the world, whose proxy and application listen.
pub(crate) fn mk_vm(ports: &[u16]) -> Net {
    let net = Net::new();
    net.vm.ip("route add default via 10.77.0.2");
    net.vm.ip("-6 route add default via fd77::2");
    for port in ports {
        net.vm.serve(*port, "it");
    }
    net
}

pub(crate) const ALL: [u16; 4] = [80, 4143, 4140, 4150];

/// `inbound IPv4 proven`, each with why.
fn shown(vm: &Namespace, plan: &Plan) -> Vec<(String, String)> {
    shown_for(vm, plan, WISH)
}

fn shown_for(vm: &Namespace, plan: &Plan, wish: Wish) -> Vec<(String, String)> {
    let results = vm.inside(|| prove(plan, wish));
    results
        .into_iter()
        .map(|shown| {
            (
                format!("{} {} {}", shown.direction, shown.family, shown.outcome),
                shown.message,
            )
        })
        .collect()
}

#[track_caller]
fn expect(shown: &[(String, String)], expected: [&str; 4]) {
    let got: Vec<&str> = shown.iter().map(|(what, _)| what.as_str()).collect();
    assert_eq!(got, expected, "{shown:#?}");
}

const PROVEN: [&str; 4] = [
    "inbound IPv4 proven",
    "inbound IPv6 proven",
    "outbound IPv4 proven",
    "outbound IPv6 proven",
];

fn iptables(vm: &Namespace, mode: Mode, v6: bool, args: &str) {
    let program = format!("{}tables-{}", if v6 { "ip6" } else { "ip" }, name(mode));
    let words: Vec<&str> = [program.as_str(), "-w", "5"]
        .into_iter()
        .chain(args.split(' '))
        .collect();
    vm.run(&words, "");
}

/// No jump any more: what `iptables` is told, and the rule that does the same in this chain of our own table.
const OUTPUT: (&str, &str, &str) = ("-F OUTPUT", "output", "accept");
const PREROUTING: (&str, &str, &str) = ("-F PREROUTING", "prerouting", "accept");

/// Breaks our rules of one family.
fn tamper(vm: &Namespace, mode: Mode, v6: bool, (args, chain, rule): (&str, &str, &str)) {
    if mode == Mode::Nftables {
        let family = if v6 { "ipv6" } else { "ipv4" };
        let rule =
            format!("insert rule inet linkerd_proxy_harness {chain} meta nfproto {family} {rule}");
        vm.run(&["nft", "-f", "-"], &rule);
    } else {
        iptables(vm, mode, v6, &format!("-t nat {args}"));
    }
}

/// Links of ours; the kernel may take a moment to remove them.
pub(crate) fn no_link_is_left(vm: &Namespace) {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let links = vm.run(&["ip", "-o", "link"], "");
        if !links.contains("proof-") {
            return;
        }
        assert!(Instant::now() < deadline, "left behind:\n{links}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The proxy of this test reads until a connection ends, as Linkerd's does, which waits for all of them when it stops.
fn no_connection_is_left(vm: &Namespace) {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let open = vm.run(&["ss", "-Htn", "state", "established"], "");
        if open.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "still open:\n{open}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub(crate) fn rules_that_work_are_proven_and_nothing_is_left(mode: Mode) {
    let net = mk_vm(&ALL);
    let vm = &net.vm;
    apply(vm, mode, &mk_both());
    // Without what the kernel itself is still about to add to the links of this test.
    let settled = |text: String| -> Vec<String> {
        let lines = text.lines().filter(|line| !line.contains("fe80:"));
        lines.map(str::to_owned).collect()
    };
    let state = |vm: &Namespace| {
        let addresses = settled(vm.run(&["ip", "-o", "addr"], ""));
        let routes = settled(vm.run(&["ip", "route", "show", "table", "all"], ""));
        (addresses, routes, vm.rules(name(mode)))
    };
    let before = state(vm);
    for _ in 0..2 {
        expect(&shown(vm, &mk_both()), PROVEN);
        no_link_is_left(vm);
        no_connection_is_left(vm);
    }
    assert_eq!(state(vm), before);
    let inbound = shown_for(vm, &mk_plan().inbound_only(), Wish::default());
    assert_eq!(inbound.len(), 1, "{inbound:?}");
    assert_eq!(inbound[0].0, "inbound IPv4 proven", "{inbound:?}");
    cleanup(vm);
}

pub(crate) fn without_a_route_the_neighbour_serves(mode: Mode) {
    let vm = Namespace::new("alone");
    for port in ALL {
        vm.serve(port, "it");
    }
    apply(&vm, mode, &mk_both());
    expect(&shown(&vm, &mk_both()), PROVEN);
    cleanup(&vm);
}

pub(crate) fn rules_that_do_not_work_fail(mode: Mode) {
    let net = mk_vm(&ALL);
    let vm = &net.vm;
    let plan = mk_both();
    let failed = |broken: &str, expected: [&str; 4], words: &str| {
        let shown = shown(vm, &plan);
        let got: Vec<&str> = shown.iter().map(|(what, _)| what.as_str()).collect();
        assert_eq!(got, expected, "{broken}: {shown:#?}");
        for (what, why) in shown.iter().filter(|(what, _)| what.ends_with("failed")) {
            assert!(why.contains(words), "{broken}: {what}: {why}");
        }
        apply(vm, mode, &plan);
    };
    let [in4, in6, out4, out6] = PROVEN;

    apply(vm, mode, &plan);
    tamper(vm, mode, false, OUTPUT);
    failed(
        "no jump out",
        [in4, in6, "outbound IPv4 failed", out6],
        "was not redirected",
    );

    tamper(vm, mode, false, PREROUTING);
    failed(
        "no jump in",
        ["inbound IPv4 failed", in6, out4, out6],
        "was not redirected",
    );

    let every_uid = (
        "-I PROXY_INIT_OUTPUT -m owner --uid-owner 0-65535 -j RETURN",
        "proxy_init_output",
        "meta skuid 0-65535 return",
    );
    tamper(vm, mode, false, every_uid);
    failed(
        "uids",
        [in4, in6, "outbound IPv4 failed", out6],
        "was not redirected",
    );

    let elsewhere = (
        "-I PROXY_INIT_OUTPUT -p tcp -j REDIRECT --to-ports 4999",
        "proxy_init_output",
        "meta l4proto tcp redirect to :4999",
    );
    tamper(vm, mode, false, elsewhere);
    failed(
        "a wrong port out",
        [in4, in6, "outbound IPv4 failed", out6],
        "was redirected to 127.0.0.1:4999 and not",
    );

    let elsewhere = (
        "-I PROXY_INIT_REDIRECT -p tcp -j REDIRECT --to-ports 80",
        "proxy_init_redirect",
        "meta l4proto tcp redirect to :80",
    );
    tamper(vm, mode, true, elsewhere);
    failed(
        "a wrong port in",
        [in4, "inbound IPv6 failed", out4, out6],
        ":80 and not to the proxy's port 4143",
    );

    tamper(vm, mode, true, PREROUTING);
    tamper(vm, mode, true, OUTPUT);
    failed(
        "no IPv6",
        [in4, "inbound IPv6 failed", out4, "outbound IPv6 failed"],
        "was not redirected",
    );
    failed("mended", PROVEN, "");

    // Ours are as they should be, but somebody else is faster.
    let faster = "table ip other { chain out { type nat hook output priority -110; tcp dport 1404 dnat to 10.77.0.2:9; }; }";
    vm.run(&["nft", "-f", "-"], faster);
    failed(
        "another's NAT",
        [in4, in6, "outbound IPv4 failed", out6],
        "was redirected to 10.77.0.2:9 and not",
    );
    vm.run(&["nft", "delete", "table", "ip", "other"], "");

    withdraw(vm, mode);
    failed(
        "withdrawn",
        PROVEN.map(|what| match what {
            "inbound IPv4 proven" => "inbound IPv4 failed",
            "inbound IPv6 proven" => "inbound IPv6 failed",
            "outbound IPv4 proven" => "outbound IPv4 failed",
            _ => "outbound IPv6 failed",
        }),
        "was not redirected",
    );
    cleanup(vm);
    assert!(
        shown(vm, &plan)
            .iter()
            .all(|(what, _)| !what.ends_with("proven"))
    );
    no_link_is_left(vm);
}

pub(crate) fn a_proxy_that_does_not_listen_fails(mode: Mode) {
    let net = mk_vm(&[80]);
    apply(&net.vm, mode, &mk_both());
    let shown = shown(&net.vm, &mk_both());
    expect(
        &shown,
        PROVEN.map(|what| match what {
            "inbound IPv4 proven" => "inbound IPv4 failed",
            "inbound IPv6 proven" => "inbound IPv6 failed",
            "outbound IPv4 proven" => "outbound IPv4 failed",
            _ => "outbound IPv6 failed",
        }),
    );
    assert!(
        shown
            .iter()
            .all(|(_, why)| why.ends_with("where nothing listens")),
        "{shown:#?}"
    );
    cleanup(&net.vm);
}

pub(crate) fn a_firewall_that_drops_is_no_alarm(mode: Mode) {
    let net = mk_vm(&ALL);
    let vm = &net.vm;
    apply(vm, mode, &mk_both());
    for target in ["DROP", "REJECT --reject-with tcp-reset", "REJECT"] {
        for rule in [
            "INPUT ! -i lo -p tcp --dport 4143",
            "OUTPUT -p tcp --dport 4140",
            "OUTPUT -p tcp --dport 1404",
        ] {
            iptables(vm, mode, false, &format!("-A {rule} -j {target}"));
        }
        let shown = shown(vm, &mk_both());
        let [_, in6, _, out6] = PROVEN;
        expect(
            &shown,
            ["inbound IPv4 untried", in6, "outbound IPv4 untried", out6],
        );
        assert!(
            shown
                .iter()
                .all(|(what, why)| what.ends_with("proven") || why.contains("firewall")),
            "{shown:#?}"
        );
        iptables(vm, mode, false, "-F INPUT");
        iptables(vm, mode, false, "-F OUTPUT");
    }
    cleanup(vm);
}

pub(crate) fn two_at_once_do_not_disturb_one_another(mode: Mode) {
    let net = mk_vm(&ALL);
    let vm = &net.vm;
    apply(vm, mode, &mk_both());
    std::thread::scope(|scope| {
        let both: Vec<_> = (0..2)
            .map(|_| scope.spawn(|| shown(vm, &mk_both())))
            .collect();
        for one in both {
            expect(&one.join().unwrap(), PROVEN);
        }
    });
    no_link_is_left(vm);
    cleanup(vm);
}
