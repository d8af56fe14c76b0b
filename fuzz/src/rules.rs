//! What `iptables-save` and `nft list table` print, on any host, whoever wrote its rules.

use linkerd_harness_core::config::{FailurePolicy, Mode, Redirect};
use linkerd_harness_core::redirect::{
    Family, Plan, ProxyPorts, State, foreign_rules, iptables, nftables,
};

use crate::{Target, text};

pub(crate) const SAVED_RULES: Target = Target {
    name: "saved_rules",
    run: parse,
    seeds: dumps,
};

pub(crate) const LISTED_TABLE: Target = Target {
    name: "listed_table",
    run: parse_table,
    seeds: || vec![nftables::show(&mk_plan()).into(), LISTING.into()],
};

fn parse_table(input: &[u8]) -> bool {
    let listing = text(input);
    let plan = mk_plan();
    if nftables::state(&plan, Some(&listing)) == State::Applied {
        assert!(
            nftables::withdrawal(&listing).is_some(),
            "what redirects can be withdrawn"
        );
    }
    nftables::bare(&listing);
    let transactions = nftables::apply(&plan, Some(&listing));
    assert!(
        !transactions.is_empty(),
        "the rules are always written anew"
    );
    assert_eq!(nftables::groundwork(&plan, Some(&listing)), [""; 0]);
    !nftables::live(&listing).is_empty()
}

/// A table that somebody has changed.
const LISTING: &str = "table inet linkerd_proxy_harness {
	set mine {
		type ipv4_addr
		flags interval
		elements = { 10.0.0.0/8,
			     192.0.2.1 }
	}

	chain prerouting {
		type nat hook prerouting priority dstnat - 1; policy accept;
		ip saddr @mine tcp dport { 22, 80-90 } counter packets 3 bytes 180 jump proxy_init_redirect comment \"a b\"
	}
}
";

fn parse(input: &[u8]) -> bool {
    let dump = text(input);
    let plan = mk_plan();
    let count = foreign_rules(&dump);
    assert!(count.nat <= count.all);
    let mut any = false;
    for family in [Family::V4, Family::V6] {
        let state = State::of(&plan, family, &dump);
        let removal = iptables::removal(&dump);
        assert_eq!(
            removal.is_none(),
            state == State::Absent,
            "what is there can be removed, and nothing else"
        );
        if iptables::withdrawal(&dump).is_some() {
            assert!(removal.is_some(), "a jump is something of ours");
        }
        if iptables::groundwork(&plan, family, &dump).is_some() {
            assert_ne!(state, State::Applied, "what is there is not laid anew");
        }
        let apply = iptables::apply(&plan, family, &dump);
        assert!(apply.starts_with("*nat\n") && apply.ends_with("COMMIT\n"));
        any |= state == State::Applied;
    }
    any
}

fn mk_plan() -> Plan {
    let redirect = Redirect {
        inbound_ports: Vec::new(),
        inbound_ignore: Vec::new(),
        outbound_ignore: Vec::new(),
        subnets_ignore: Vec::new(),
        subnets_redirect: Vec::new(),
        ipv6: true,
        mode: Mode::Auto,
        failure_policy: FailurePolicy::Open,
    };
    let ports = ProxyPorts {
        inbound: 4143,
        outbound: 4140,
        outbound_v6: 4140,
        admin: vec![4190, 4191, 4192],
    };
    Plan::new(&redirect, ports, 998, [])
}

fn dumps() -> Vec<Vec<u8>> {
    let ours = iptables::show(&mk_plan(), Family::V4);
    let others = "*filter\n:INPUT DROP [3:180]\n:DOCKER - [0:0]\n[1:60] -A INPUT -m comment --comment \"a \\\" b\" -j DOCKER\nCOMMIT\n";
    let theirs = "-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER\n-A FOO -g PROXY_INIT_OUTPUT\nCOMMIT\n";
    vec![
        (others.to_owned() + &ours).into(),
        (iptables::show(&mk_plan(), Family::V6) + others).into(),
        (ours.replace("-A PROXY", "[7:420] -A PROXY") + "*raw\n" + theirs).into(),
    ]
}
