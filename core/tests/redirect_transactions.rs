//! What the transactions do, run on a model of `iptables-restore --noflush`: random foreign rules around ours.
#![expect(clippy::unwrap_used, reason = "test support")]

use std::fmt::Write as _;

use linkerd_harness_core::config::{FailurePolicy, Mode, Redirect};
use linkerd_harness_core::redirect::{Drift, Family, Plan, ProxyPorts, State, iptables};
use proptest::prelude::*;

const EMPTY: &str = "*nat\n:PREROUTING ACCEPT [0:0]\n:INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n\
    :POSTROUTING ACCEPT [0:0]\nCOMMIT\n";
const IN: &str = "-A PREROUTING -m addrtype --dst-type LOCAL -m comment --comment \
    \"proxy-init/install-proxy-init-prerouting\" -j PROXY_INIT_REDIRECT";

fn mk_plan(ignore: &str) -> Plan {
    let redirect = Redirect {
        inbound_ports: vec![],
        inbound_ignore: ignore
            .split(',')
            .map(|port| port.parse().unwrap())
            .collect(),
        outbound_ignore: vec![],
        subnets_ignore: vec![],
        subnets_redirect: vec![],
        ipv6: false,
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

/// One table as `iptables-restore` sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Model {
    chains: Vec<String>,
    rules: Vec<(String, String)>,
}

impl Model {
    fn of(dump: &str) -> Self {
        let mut model = Self {
            chains: vec![],
            rules: vec![],
        };
        model.restore(dump);
        model
    }

    /// Panics where the real one would refuse the transaction.
    fn restore(&mut self, text: &str) {
        assert!(
            text.starts_with("*nat\n") && text.ends_with("COMMIT\n"),
            "{text}"
        );
        for line in text
            .lines()
            .filter(|line| !line.starts_with(['*', '#']) && !matches!(*line, "" | "COMMIT"))
        {
            if let Some(chain) = line.strip_prefix(':') {
                let chain = chain.split(' ').next().unwrap().to_owned();
                self.rules.retain(|(of, _)| *of != chain);
                self.chains.retain(|of| *of != chain);
                self.chains.push(chain);
                continue;
            }
            let mut words = line.splitn(3, ' ');
            let (verb, chain) = (words.next().unwrap(), words.next().unwrap().to_owned());
            let rest = words.next().unwrap_or_default().to_owned();
            assert!(self.chains.contains(&chain), "no chain for {line}");
            match verb {
                "-A" => self.rules.push((chain, rest)),
                "-I" => {
                    let rest = rest.strip_prefix("1 ").unwrap().to_owned();
                    let first = self.rules.iter().position(|(of, _)| *of == chain);
                    self.rules
                        .insert(first.unwrap_or(self.rules.len()), (chain, rest));
                }
                "-D" => {
                    let wanted = (chain, rest);
                    let found = self.rules.iter().position(|rule| *rule == wanted);
                    self.rules
                        .remove(found.unwrap_or_else(|| panic!("no rule for {line}")));
                }
                "-F" => self.rules.retain(|(of, _)| *of != chain),
                "-X" => {
                    let used = |(of, rule): &(String, String)| {
                        *of == chain || rule.ends_with(&format!(" {chain}"))
                    };
                    assert!(!self.rules.iter().any(used), "chain in use: {line}");
                    self.chains.retain(|of| *of != chain);
                }
                other => panic!("unknown verb {other}"),
            }
        }
    }

    fn dump(&self) -> String {
        let mut text = String::from("*nat\n");
        for chain in &self.chains {
            writeln!(text, ":{chain} - [0:0]").unwrap();
        }
        for chain in &self.chains {
            for (_, rule) in self.rules.iter().filter(|(of, _)| of == chain) {
                writeln!(text, "-A {chain} {rule}").unwrap();
            }
        }
        text + "COMMIT\n"
    }
}

fn with_rules(rules: &[String]) -> String {
    EMPTY.replace(
        "COMMIT\n",
        &format!(":DOCKER - [0:0]\n{}\nCOMMIT\n", rules.join("\n")),
    )
}

#[test]
fn nothing_of_ours_means_nothing_to_remove() {
    for dump in ["", EMPTY, &with_rules(&["-A PREROUTING -j DOCKER".into()])] {
        assert_eq!(iptables::removal(dump), None);
        assert_eq!(State::of(&mk_plan("4567"), Family::V4, dump), State::Absent);
    }
}

#[test]
fn applying_what_is_applied_leaves_the_jumps_alone() {
    let plan = mk_plan("4567");
    let mut model = Model::of(EMPTY);
    model.restore(&iptables::apply(&plan, Family::V4, EMPTY));
    let again = iptables::apply(&plan, Family::V4, &model.dump());
    assert!(!again.contains("-I ") && !again.contains("-D "), "{again}");
}

#[test]
fn drift_is_named() {
    use linkerd_harness_core::redirect::Chain;
    let plan = mk_plan("4567");
    let mut model = Model::of(EMPTY);
    model.restore(&iptables::apply(&plan, Family::V4, EMPTY));
    let applied = model.dump();
    let drift = |dump: &str| match State::of(&plan, Family::V4, dump) {
        State::Drifted(drifts) => drifts,
        other => panic!("{other:?} for {dump}"),
    };
    let moved = applied.replace(IN, &format!("-A PREROUTING -j ACCEPT\n{IN}"));
    assert_eq!(drift(&moved), [Drift::JumpMisplaced(Chain::Redirect)]);
    let twice = applied.replace(IN, &format!("{IN}\n{IN}"));
    assert_eq!(drift(&twice), [Drift::JumpMisplaced(Chain::Redirect)]);
    let gone = applied.replace(IN, "");
    assert_eq!(drift(&gone), [Drift::JumpMissing(Chain::Redirect)]);
    let lines: Vec<&str> = applied
        .lines()
        .filter(|line| !line.contains("ignore-loopback"))
        .collect();
    let differs = Drift::RulesDiffer {
        chain: Chain::Output,
        missing: 1,
        unwanted: 0,
    };
    assert_eq!(drift(&lines.join("\n")), [differs]);
    assert!(matches!(
        drift(&applied.replace("998", "999"))[..],
        [Drift::RulesDiffer {
            missing: 1,
            unwanted: 1,
            ..
        }]
    ));
    let unquoted = applied.replace('"', "");
    assert_eq!(State::of(&plan, Family::V4, &unquoted), State::Applied);
    assert_eq!(
        iptables::live(&plan, Family::V4, &unquoted),
        iptables::show(&plan, Family::V4)
    );
}

#[test]
fn only_a_print_with_every_purpose_in_its_place_is_taken_for_the_plan() {
    let plan = mk_plan("4567");
    let mut model = Model::of(EMPTY);
    model.restore(&iptables::apply(&plan, Family::V4, EMPTY));
    let other_words = model.dump().replace("-p tcp", "-p 6");
    assert!(matches!(
        State::of(&plan, Family::V4, &other_words),
        State::Drifted(_)
    ));
    let print = |dump: &str| iptables::print(&plan, Family::V4, dump);
    let counted = other_words.replace("-A ", "[3:180] -A ");
    assert_eq!(print(&counted), print(&other_words), "counters do not tell");
    assert!(print(&other_words).is_some());
    for (from, to) in [
        (IN, ""),
        (IN, &format!("-A PREROUTING -j ACCEPT\n{IN}")),
        (IN, &format!("{IN}\n{IN}")),
        (
            "-A PROXY_INIT_OUTPUT -o lo",
            "-A PROXY_INIT_OUTPUT -j ACCEPT\n-A PROXY_INIT_OUTPUT -o lo",
        ),
        (
            "proxy-init/ignore-loopback",
            "proxy-init/ignore-proxy-user-id",
        ),
        (":PROXY_INIT_OUTPUT", ":OTHER"),
    ] {
        let changed = other_words.replace(from, to);
        assert_ne!(changed, other_words);
        assert_eq!(print(&changed), None, "{from} -> {to}");
    }
}

fn foreign() -> impl Strategy<Value = Vec<String>> {
    let chain = prop::sample::select(vec!["PREROUTING", "OUTPUT", "POSTROUTING", "DOCKER"]);
    let matches = prop::sample::select(vec![
        "",
        "-p tcp -m tcp --dport 80 ",
        "-s 172.17.0.0/16 ! -o docker0 ",
        "-m comment --comment \"not -j PROXY_INIT_OUTPUT\" ",
        "-m comment --comment \"a \\\" -j PROXY_INIT_REDIRECT \\\" b\" ",
    ]);
    let target = prop::sample::select(vec![
        "-j ACCEPT",
        "-j MASQUERADE",
        "-j DNAT --to-destination 172.17.0.2:80",
        "-j PROXY_INIT_REDIRECTED",
    ]);
    let rule = (chain, matches, target).prop_map(|(c, m, t)| format!("-A {c} {m}{t}"));
    prop::collection::vec(rule, 0..12)
}

proptest! {
    #[test]
    fn apply_ends_in_the_plan_and_removal_in_what_was_there(
        foreign in foreign(),
        strays in prop::collection::vec((prop::sample::select(vec!["PREROUTING", "OUTPUT", "DOCKER"]), 0..20usize), 0..4),
        first in 1u16..,
        second in 1u16..,
    ) {
        let before = Model::of(&with_rules(&foreign));
        let mut model = before.clone();
        for port in [first, second, first] {
            let plan = mk_plan(&port.to_string());
            model.restore(&iptables::apply(&plan, Family::V4, &model.dump()));
            prop_assert_eq!(State::of(&plan, Family::V4, &model.dump()), State::Applied);
            prop_assert_eq!(iptables::live(&plan, Family::V4, &model.dump()), iptables::show(&plan, Family::V4));
        }
        // Somebody adds jumps into our chains, anywhere.
        for (chain, at) in &strays {
            let rule = ((*chain).to_owned(), "-p tcp -j PROXY_INIT_REDIRECT".to_owned());
            model.rules.insert((*at).min(model.rules.len()), rule);
        }
        let plan = mk_plan(&second.to_string());
        // What an operator is shown and what the daemon acts on never disagree.
        let looks_equal = iptables::live(&plan, Family::V4, &model.dump()) == iptables::show(&plan, Family::V4);
        prop_assert_eq!(looks_equal, State::of(&plan, Family::V4, &model.dump()) == State::Applied);
        model.restore(&iptables::apply(&plan, Family::V4, &model.dump()));
        prop_assert_eq!(State::of(&plan, Family::V4, &model.dump()), State::Applied);
        let mut withdrawn = model.clone();
        let withdrawal = iptables::withdrawal(&model.dump());
        withdrawn.restore(&withdrawal.unwrap());
        prop_assert_eq!(iptables::withdrawal(&withdrawn.dump()), None);
        prop_assert!(!withdrawn.dump().lines().any(|line| line.starts_with("-A PREROUTING") && line.ends_with("-j PROXY_INIT_REDIRECT")));
        prop_assert!(withdrawn.dump().contains("REDIRECT --to-ports 4143"), "the chains stay");
        let again = iptables::apply(&plan, Family::V4, &withdrawn.dump());
        withdrawn.restore(&again);
        prop_assert_eq!(State::of(&plan, Family::V4, &withdrawn.dump()), State::Applied);
        let removal = iptables::removal(&model.dump());
        model.restore(&removal.unwrap());
        prop_assert_eq!(model.dump(), before.dump());
        prop_assert_eq!(iptables::removal(&model.dump()), None);
    }
}
