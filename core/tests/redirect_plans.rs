//! Any plan is recognised in its own text, and in no other's.
#![expect(clippy::unwrap_used, reason = "test support")]

use linkerd_harness_core::config::{FailurePolicy, Mode, Redirect};
use linkerd_harness_core::names::PortRange;
use linkerd_harness_core::redirect::{
    Family, Live, Plan, ProxyPorts, RuleCount, State, foreign_rules, iptables,
};
use proptest::prelude::*;

const EMPTY: &str = "*nat\n:PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n";

/// What the kernel and `iptables` take: `XT_MAX_COMMENT_LEN` with its end, and the longest line.
const COMMENT: usize = 255;
const LINE: usize = 10_000;

/// With up to `most` ports and networks a key. Small plans are often nearly equal.
fn plan(most: usize) -> impl Strategy<Value = Plan> {
    let ports = move || {
        prop::collection::vec((1u16.., 0u16..300), 0..=most).prop_map(|ranges| -> Vec<PortRange> {
            let range =
                |(from, more): &(u16, u16)| format!("{from}-{}", from.saturating_add(*more));
            ranges
                .iter()
                .map(|ends| range(ends).parse().unwrap())
                .collect()
        })
    };
    let v4 = (any::<u32>(), 0u8..=32)
        .prop_map(|(bits, size)| format!("{}/{size}", std::net::Ipv4Addr::from(bits)));
    let v6 = (any::<u128>(), 0u8..=128)
        .prop_map(|(bits, size)| format!("{}/{size}", std::net::Ipv6Addr::from(bits)));
    let net = prop_oneof![v4, v6].boxed();
    let subnets = || prop::collection::vec(net.clone(), 0..=most.min(8));
    let ports = (ports(), ports(), ports());
    (
        ports,
        subnets(),
        subnets(),
        any::<u32>(),
        1u16..,
        any::<bool>(),
    )
        .prop_map(
            |(
                (inbound_ports, inbound_ignore, outbound_ignore),
                ignore,
                to,
                uid,
                port,
                outbound,
            )| {
                let nets =
                    |texts: Vec<String>| texts.iter().map(|net| net.parse().unwrap()).collect();
                let redirect = Redirect {
                    inbound_ports,
                    inbound_ignore,
                    outbound_ignore,
                    subnets_ignore: nets(ignore),
                    subnets_redirect: nets(to),
                    ipv6: true,
                    mode: Mode::Auto,
                    failure_policy: FailurePolicy::Open,
                };
                let ports = ProxyPorts {
                    inbound: 4143,
                    outbound: port,
                    outbound_v6: port,
                    admin: vec![4190, 4191, 4192],
                };
                let plan = Plan::new(&redirect, ports, uid, []);
                if outbound { plan } else { plan.inbound_only() }
            },
        )
}

proptest! {
    #[test]
    fn a_plan_is_recognised_in_its_own_text_and_in_no_other(one in plan(60), near in plan(1), other in plan(1)) {
        for family in [Family::V4, Family::V6] {
            let show = iptables::show(&one, family);
            prop_assert_eq!(State::of(&one, family, &show), State::Applied);
            let show = iptables::show(&near, family);
            let same = show == iptables::show(&other, family);
            prop_assert_eq!(State::of(&other, family, &show) == State::Applied, same);
        }
    }

    #[test]
    fn every_rule_is_ours_told_and_short_enough(plan in plan(60)) {
        for family in [Family::V4, Family::V6] {
            let show = iptables::show(&plan, family);
            prop_assert_eq!(foreign_rules(&show), RuleCount::default());
            let rules: Vec<&str> = show.lines().filter(|line| line.starts_with("-A")).collect();
            let live = Live::of(family, &show);
            prop_assert_eq!(live.len(), rules.len());
            prop_assert!(live.iter().all(|rule| !rule.purpose.is_empty()));
            for rule in rules {
                let comment = rule.split('"').nth(1).unwrap();
                prop_assert!(comment.len() <= COMMENT && rule.len() < LINE, "{}", rule);
            }
            prop_assert!(iptables::removal(&show).is_some());
        }
    }

    #[test]
    fn the_transaction_holds_exactly_the_rules_that_are_shown(plan in plan(60)) {
        for family in [Family::V4, Family::V6] {
            let rules = |text: &str| -> Vec<String> {
                let text = text.replace("-I PREROUTING 1 ", "-A PREROUTING ").replace("-I OUTPUT 1 ", "-A OUTPUT ");
                let mut lines: Vec<String> = text.lines().filter(|line| line.starts_with("-A")).map(str::to_owned).collect();
                // The jumps come last in the transaction, so that they lead into chains that are whole.
                lines.sort_by_key(|line| !line.contains("install-proxy-init"));
                lines
            };
            prop_assert_eq!(
                rules(&iptables::apply(&plan, family, EMPTY)),
                rules(&iptables::show(&plan, family))
            );
        }
    }
}
