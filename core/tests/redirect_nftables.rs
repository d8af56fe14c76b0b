//! The table of nftables: wanted against live, and the way from one to the other.
#![expect(clippy::unwrap_used, reason = "test support")]

use linkerd_harness_core::config::{FailurePolicy, Mode, Redirect};
use linkerd_harness_core::redirect::{Chain, Drift, GuardRail, Plan, ProxyPorts, State, nftables};
use proptest::prelude::*;

fn mk_plan(ignore: &str, ipv6: bool) -> Plan {
    let list = |text: &str| text.split(',').map(|word| word.parse().unwrap()).collect();
    let redirect = Redirect {
        inbound_ports: vec![],
        inbound_ignore: list(ignore),
        outbound_ignore: vec![],
        subnets_ignore: vec![],
        subnets_redirect: vec![],
        ipv6,
        mode: Mode::Nftables,
        failure_policy: FailurePolicy::Open,
    };
    let ports = ProxyPorts {
        inbound: 4143,
        outbound: 4140,
        outbound_v6: 4140,
        admin: vec![4190, 4191, 4192],
    };
    let guard = [GuardRail::ControlPlane("10.0.0.81:8081".parse().unwrap())];
    Plan::new(&redirect, ports, 998, guard)
}

/// As nft 1.0.6 lists it.
fn listed(plan: &Plan) -> String {
    nftables::show(plan)
        .replace("counter", "counter packets 7 bytes 420")
        .replace(
            "hook prerouting priority -101",
            "hook prerouting priority dstnat - 1",
        )
}

fn drifts(plan: &Plan, listing: &str) -> Vec<Drift> {
    match nftables::state(plan, Some(listing)) {
        State::Drifted(drifts) => drifts,
        other => panic!("{other:?} for {listing}"),
    }
}

#[test]
fn what_nft_lists_of_a_plan_is_the_plan() {
    let plan = mk_plan("22,80,443", true);
    let listing = listed(&plan);
    assert_eq!(nftables::state(&plan, Some(&listing)), State::Applied);
    assert_eq!(nftables::state(&plan, None), State::Absent);
    let rules = nftables::live(&listing);
    assert_eq!(rules[0].purpose, "install-proxy-init-prerouting");
    assert_eq!((rules[0].chain, rules[0].family), (Chain::Redirect, None));
    assert!(
        rules
            .iter()
            .all(|rule| rule.matched.packets == 7 && rule.matched.bytes == 420)
    );
    let last = rules.last().unwrap();
    assert_eq!(last.purpose, "redirect-all-outgoing-to-proxy-port");
}

#[test]
fn drift_is_named() {
    let plan = mk_plan("22,80,443", false);
    let listing = listed(&plan);
    let changed = |from: &str, to: &str| {
        assert!(listing.contains(from), "{from} in {listing}");
        drifts(&plan, &listing.replace(from, to))
    };
    let set = listing
        .lines()
        .find_map(|line| line.trim().strip_prefix("set ignore_port_"));
    let set = format!("ignore_port_{}", set.unwrap().trim_end_matches(" {"));
    assert_eq!(changed("22, 80, 443", "22, 443"), [Drift::SetDiffers(set)]);
    let rules = |missing, unwanted| Drift::RulesDiffer {
        chain: Chain::Output,
        missing,
        unwanted,
    };
    assert_eq!(changed("skuid 998", "skuid 999"), [rules(1, 1)]);
    let bypass = "\t\taccept\n\t\tmeta skuid 998";
    assert_eq!(changed("\t\tmeta skuid 998", bypass), [rules(0, 1)]);
    let jump = listing
        .lines()
        .find(|line| line.contains("jump proxy_init_output"))
        .unwrap();
    assert_eq!(changed(jump, ""), [Drift::JumpMissing(Chain::Output)]);
    let misplaced = Drift::JumpMisplaced(Chain::Output);
    assert_eq!(changed(jump, &format!("\t\taccept\n{jump}")), [misplaced]);
    let moved = Drift::NotHooked(Chain::Redirect);
    assert_eq!(changed("dstnat - 1", "dstnat + 1"), [moved]);
    let dormant = Drift::NotOurs("flags dormant".to_owned());
    assert_eq!(
        changed(
            "table inet linkerd_proxy_harness {",
            "table inet linkerd_proxy_harness {\n\tflags dormant"
        ),
        [dormant]
    );
    let beside = changed(
        "\tchain prerouting {",
        "\tchain mine {\n\t\taccept\n\t}\n\n\tchain prerouting {",
    );
    assert_eq!(beside, [Drift::NotOurs("chain mine".to_owned())]);
    let flushed: Vec<&str> = listing
        .lines()
        .filter(|line| !line.contains("counter"))
        .collect();
    let flushed = flushed.join("\n");
    assert!(drifts(&plan, &flushed).contains(&Drift::JumpMissing(Chain::Redirect)));
}

/// Who may make such a name owns the packet filter already, but must not get a line into what root gives to `nft`.
#[test]
fn names_that_are_none_never_get_into_a_transaction() {
    let plan = mk_plan("22", false);
    let listing = listed(&plan).replace(
        "\tchain output {",
        "\tchain a; flush ruleset {\n\t\taccept\n\t}\n\n\tchain output {",
    );
    let all =
        nftables::apply(&plan, Some(&listing)).concat() + &nftables::withdrawal(&listing).unwrap();
    assert!(!all.contains("ruleset"), "{all}");
    assert!(
        all.starts_with("delete table"),
        "the whole table is made anew: {all}"
    );
}

#[test]
fn other_tables_are_nothing_of_ours() {
    let plan = mk_plan("22", false);
    let ruleset = format!(
        "table ip nat {{\n\tchain x {{\n\t\taccept\n\t}}\n}}\n{}",
        listed(&plan)
    );
    assert_eq!(nftables::state(&plan, Some(&ruleset)), State::Applied);
    assert_eq!(
        nftables::live("table ip linkerd_proxy_harness {\n\tchain output {\n\t\taccept\n\t}\n}\n"),
        []
    );
}

/// Sets that rules use are neither changed nor deleted while the rules that use them are there.
#[test]
fn rules_change_in_one_transaction_and_sets_before_and_after_it() {
    let (one, other) = (mk_plan("22,80,443", false), mk_plan("22,80", false));
    let fresh = nftables::apply(&one, None);
    assert_eq!(fresh.len(), 2, "{fresh:#?}");
    assert!(fresh[0].contains("set ignore_port_") && !fresh[0].contains("chain"));
    let again = nftables::apply(&one, Some(&listed(&one)));
    assert_eq!(again.len(), 1, "nothing but the rules: {again:#?}");
    assert!(!again[0].contains("set "));
    let changed = nftables::apply(&other, Some(&listed(&one)));
    assert_eq!(changed.len(), 3, "{changed:#?}");
    assert!(changed[0].contains("elements = { 22, 80 }") && !changed[0].contains("flush"));
    assert!(changed[2].starts_with("delete set inet linkerd_proxy_harness ignore_port_"));
    let short = listed(&one).replace("22, 80, 443", "22");
    assert!(nftables::apply(&one, Some(&short))[0].starts_with("flush set"));
    let hooked = listed(&one).replace("dstnat - 1", "0");
    let repaired = &nftables::apply(&one, Some(&hooked))[0];
    assert!(
        repaired.contains("delete chain inet linkerd_proxy_harness prerouting\n"),
        "{repaired}"
    );
    let odd = listed(&one).replace(
        "\tchain output {",
        "\tmap m {\n\t\ttype ipv4_addr : verdict\n\t}\n\n\tchain output {",
    );
    let replaced = nftables::apply(&one, Some(&odd));
    assert!(
        replaced.len() == 1 && replaced[0].starts_with("delete table"),
        "{replaced:#?}"
    );
}

#[test]
fn groundwork_and_withdrawal_leave_everything_but_the_jumps() {
    let plan = mk_plan("22", false);
    let groundwork = nftables::groundwork(&plan, None).concat();
    assert!(groundwork.contains("redirect to :4143") && groundwork.contains("hook prerouting"));
    assert!(!groundwork.contains("jump"), "{groundwork}");
    assert_eq!(nftables::groundwork(&plan, Some(&listed(&plan))), [""; 0]);
    assert_eq!(
        nftables::withdrawal(&listed(&plan)).unwrap(),
        "flush chain inet linkerd_proxy_harness prerouting\nflush chain inet linkerd_proxy_harness output\n"
    );
    assert_eq!(nftables::withdrawal(&groundwork), None);
    let inbound = plan.clone().inbound_only();
    assert_eq!(
        nftables::state(&inbound, Some(&listed(&inbound))),
        State::Applied
    );
    assert_eq!(
        drifts(&inbound, &listed(&plan)),
        [Drift::JumpMisplaced(Chain::Output)]
    );
}

#[test]
fn only_a_print_with_every_purpose_in_its_place_is_taken_for_the_plan() {
    let plan = mk_plan("22,80", false);
    let other_words = listed(&plan).replace("meta l4proto tcp", "meta l4proto 6");
    let print = nftables::print(&plan, &other_words).unwrap();
    assert!(!drifts(&plan, &other_words).is_empty());
    let later = other_words.replace("packets 7", "packets 8");
    assert_eq!(
        nftables::print(&plan, &later).unwrap(),
        print,
        "counters do not tell"
    );
    for (from, to) in [
        ("proxy-init/ignore-loopback", "mine"),
        ("\t\tmeta skuid", "\t\taccept\n\t\tmeta skuid"),
        ("chain output {", "chain mine {\n\t}\n\tchain output {"),
        ("hook output", "hook input"),
    ] {
        let changed = other_words.replace(from, to);
        assert_eq!(nftables::print(&plan, &changed), None, "{from} -> {to}");
    }
}

proptest! {
    #[test]
    fn any_text_parses(
        text in "([a-z0-9{}\"=,;#@.:/ \n-]|table inet linkerd_proxy_harness \\{\n|chain output \\{\n|set x \\{\n|elements = \\{|type nat hook |priority |counter packets |\\}\n){0,60}"
    ) {
        let plan = mk_plan("22", false);
        let drifted = nftables::state(&plan, Some(&text));
        prop_assert!(matches!(drifted, State::Drifted(_)), "{drifted:?}");
        nftables::apply(&plan, Some(&text));
        nftables::withdrawal(&text);
        prop_assert!(nftables::live(&text).len() <= text.len());
        prop_assert_eq!(nftables::print(&plan, &text), None);
    }

    #[test]
    fn a_plan_is_what_it_lists(
        ports in prop::collection::vec((1u16.., 0u16..40), 1..60),
        nets in prop::collection::vec((any::<[u8; 4]>(), 0u8..=32), 0..30),
        nets6 in prop::collection::vec((any::<[u8; 16]>(), 0u8..=128), 0..10),
        ipv6: bool,
    ) {
        let ports: Vec<String> = ports.iter().map(|(a, n)| format!("{a}-{}", a.saturating_add(*n))).collect();
        let nets = nets.iter().map(|(a, n)| format!("{}/{n}", std::net::Ipv4Addr::from(*a)));
        let nets6 = nets6.iter().map(|(a, n)| format!("{}/{n}", std::net::Ipv6Addr::from(*a)));
        let nets: Vec<ipnet::IpNet> = nets.chain(nets6).map(|net| net.parse().unwrap()).collect();
        let redirect = Redirect {
            inbound_ports: vec![],
            inbound_ignore: ports.iter().map(|port| port.parse().unwrap()).collect(),
            outbound_ignore: vec![],
            subnets_ignore: nets.clone(),
            subnets_redirect: nets,
            ipv6,
            mode: Mode::Nftables,
            failure_policy: FailurePolicy::Open,
        };
        let proxy = ProxyPorts { inbound: 4143, outbound: 4140, outbound_v6: 4150, admin: vec![4190] };
        let plan = Plan::new(&redirect, proxy, 998, []);
        let listing = listed(&plan);
        prop_assert_eq!(nftables::state(&plan, Some(&listing)), State::Applied);
        prop_assert!(listing.matches("counter").count() <= 20, "{}", listing);
        for comment in listing.split("comment \"").skip(1) {
            prop_assert!(comment.split('"').next().unwrap().len() <= 128, "{}", comment);
        }
    }
}
