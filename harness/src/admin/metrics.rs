//! `/metrics`: the status page as gauges, the rules as counters. Label sets are closed, or as large as the configuration.

use std::fmt;
use std::time::SystemTime;

use linkerd_harness_core::redirect::page;
use linkerd_harness_core::redirect::proof::Outcome;
use linkerd_harness_core::status::{Proof, State, Status};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode as encode_text;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Rules;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Part {
    component: &'static str,
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Rule {
    family: &'static str,
    chain: &'static str,
    purpose: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Tried {
    direction: String,
    family: &'static str,
    outcome: String,
}

/// Text in the format `OpenMetrics`.
pub(super) fn encode(status: &Status, rules: &Rules) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("harness");
    registry.register(
        "build",
        "Version of the harness",
        Info::new([("version", status.version.clone())]),
    );
    let meshed = Gauge::<i64>::default();
    meshed.set(status.meshed.into());
    registry.register(
        "meshed",
        "Whether this machine takes part in the mesh",
        meshed,
    );
    let parts = Family::<Part, Gauge>::default();
    for (component, part) in status.components() {
        for (state, name) in STATES {
            parts
                .get_or_create(&Part {
                    component,
                    state: name,
                })
                .set((part.state == state).into());
        }
    }
    registry.register(
        "component_state",
        "1 for the state that each component is in",
        parts,
    );
    // A counter, though it starts again when the rules are made again: to `rate()` and its like that is a restart.
    let matched = Family::<Rule, Counter>::default();
    for rule in rules.view.borrow().iter().flat_map(|view| &view.look.rules) {
        // Two rules that say the same of themselves are one series: their sum.
        matched
            .get_or_create(&Rule {
                family: page::family(rule.family),
                chain: rule.chain.name(),
                purpose: match rule.purpose.as_str() {
                    "" => "of-others".to_owned(),
                    purpose => purpose.to_owned(),
                },
            })
            .inc_by(rule.matched.packets);
    }
    registry.register(
        "redirect_rule_connections",
        "Connections that each rule of ours has matched since it was made",
        matched,
    );
    let state = *rules.state.borrow();
    registry.register(
        "redirect_repairs",
        "How often rules of ours had been changed by somebody else and were put right",
        ConstCounter::new(state.repairs),
    );
    let last_repair = state
        .last_repair
        .and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok())
        .map_or(0.0, |since| since.as_secs_f64());
    registry.register(
        "redirect_last_repair_timestamp_seconds",
        "When that was for the last time, in Unix time; 0 for never",
        ConstGauge::new(last_repair),
    );
    registry.register(
        "redirect_transactions_seen",
        "Changes to nf_tables that the kernel told of, by anybody",
        ConstCounter::new(rules.heard.borrow().all()),
    );
    if let Some(proof) = &status.proof {
        register_proof(&mut registry, proof);
    }
    let mut text = String::new();
    encode_text(&mut text, &registry)?;
    Ok(text)
}

fn register_proof(registry: &mut Registry, proof: &Proof) {
    let tried = Family::<Tried, Gauge>::default();
    for shown in &proof.results {
        for outcome in Outcome::ALL {
            let labels = Tried {
                direction: shown.direction.to_string(),
                family: page::family(Some(shown.family)),
                outcome: outcome.to_string(),
            };
            tried
                .get_or_create(&labels)
                .set((shown.outcome == outcome).into());
        }
    }
    registry.register(
        "redirect_proof",
        "1 for what the last connection through the redirection has shown",
        tried,
    );
    if let Ok(at) = OffsetDateTime::parse(&proof.at, &Rfc3339) {
        let time = Gauge::<i64>::default();
        time.set(at.unix_timestamp());
        registry.register_with_unit(
            "redirect_proof_timestamp",
            "When connections were sent through the redirection last",
            Unit::Seconds,
            time,
        );
    }
}

const STATES: [(State, &str); 4] = [
    (State::Waiting, "waiting"),
    (State::Ok, "ok"),
    (State::Degraded, "degraded"),
    (State::Failed, "failed"),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use linkerd_harness_core::config::Config;
    use linkerd_harness_core::redirect::proof::Direction;
    use linkerd_harness_core::redirect::{self, Chain, Live, Look, Matched};
    use linkerd_harness_core::status::Shown;
    use tokio::sync::watch;

    use super::*;
    use crate::interception;
    use crate::redirection::{Heard, Redirection, View};

    #[test]
    fn each_component_is_in_exactly_one_state() {
        let mut status = crate::board::blank(String::new());
        status.proxy.state = State::Failed;
        let state = Redirection {
            repairs: 3,
            ..Redirection::default()
        };
        let rules = mk_rules(state, vec![]);
        let text = encode(&status, &rules).unwrap();
        assert!(text.contains("harness_redirect_repairs_total 3"), "{text}");
        assert!(
            text.contains("harness_component_state{component=\"proxy\",state=\"failed\"} 1"),
            "{text}"
        );
        assert!(
            text.contains("harness_component_state{component=\"proxy\",state=\"ok\"} 0"),
            "{text}"
        );
        let on = text
            .lines()
            .filter(|line| line.starts_with("harness_component_state") && line.ends_with(" 1"))
            .count();
        assert_eq!(on, status.components().len());
        assert!(text.contains("harness_meshed 0"), "{text}");
    }

    #[test]
    fn rules_are_counters_by_purpose_and_equal_ones_are_summed() {
        let rule = |family, purpose: &str, packets| Live {
            family,
            chain: Chain::Output,
            purpose: purpose.to_owned(),
            matched: Matched { packets, bytes: 0 },
        };
        let rules = mk_rules(
            Redirection::default(),
            vec![
                rule(Some(redirect::Family::V4), "ignore-loopback", 3),
                rule(Some(redirect::Family::V6), "ignore-loopback", 5),
                rule(Some(redirect::Family::V4), "ignore-loopback", 4),
                rule(None, "", 1),
            ],
        );
        let text = encode(&crate::board::blank(String::new()), &rules).unwrap();
        let name = "harness_redirect_rule_connections";
        let labels = |family, purpose| {
            format!("family=\"{family}\",chain=\"PROXY_INIT_OUTPUT\",purpose=\"{purpose}\"")
        };
        for line in [
            format!("# TYPE {name} counter"),
            format!("{name}_total{{{}}} 7", labels("ipv4", "ignore-loopback")),
            format!("{name}_total{{{}}} 5", labels("ipv6", "ignore-loopback")),
            format!("{name}_total{{{}}} 1", labels("both", "of-others")),
        ] {
            assert!(
                text.lines().any(|said| said == line),
                "no `{line}` in\n{text}"
            );
        }
        assert!(text.ends_with("# EOF\n"), "{text}");
    }

    fn mk_rules(state: Redirection, rules: Vec<Live>) -> Rules {
        let config = Config::parse(CONFIG).unwrap();
        let plan = Arc::new(interception::plan(&config, 998, &BTreeSet::new()));
        let view = View {
            plan: Arc::clone(&plan),
            look: Look {
                state: redirect::State::Applied,
                rules,
                text: String::new(),
            },
            at: SystemTime::UNIX_EPOCH,
        };
        Rules {
            backend: watch::Sender::new(None).subscribe(),
            intended: watch::Sender::new(plan).subscribe(),
            state: watch::Sender::new(state).subscribe(),
            view: watch::Sender::new(Some(view)).subscribe(),
            heard: watch::Sender::new(Heard::default()).subscribe(),
        }
    }

    const CONFIG: &str = r#"{
        "WorkloadGroup": { "Name": "training-vm", "Namespace": "training" },
        "Control": { "Address": "10.77.0.2:8081", "ServerId": "autoregistration.test" }
    }"#;

    #[test]
    fn a_proof_is_told_with_its_time_and_is_absent_without_one() {
        let mut status = crate::board::blank(String::new());
        let rules = mk_rules(Redirection::default(), vec![]);
        assert!(!encode(&status, &rules).unwrap().contains("redirect_proof"));
        status.proof = Some(Proof {
            at: "2026-11-23T08:00:00Z".to_owned(),
            results: vec![Shown {
                direction: Direction::Outbound,
                family: redirect::Family::V6,
                outcome: Outcome::Failed,
                message: "words".to_owned(),
            }],
        });
        let text = encode(&status, &rules).unwrap();
        for line in [
            "harness_redirect_proof{direction=\"outbound\",family=\"ipv6\",outcome=\"failed\"} 1",
            "harness_redirect_proof{direction=\"outbound\",family=\"ipv6\",outcome=\"proven\"} 0",
            "harness_redirect_proof_timestamp_seconds 1795420800",
        ] {
            assert!(text.lines().any(|told| told == line), "{line} in:\n{text}");
        }
    }
}
