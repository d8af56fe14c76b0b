//! `/metrics`: the status page as gauges. Label sets are closed.

use std::fmt;
use std::time::SystemTime;

use linkerd_harness_core::redirect;
use linkerd_harness_core::status::{State, Status};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode as encode_text;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

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
    let matched = Family::<Rule, Gauge>::default();
    for rule in rules.view.borrow().iter().flat_map(|view| &view.look.rules) {
        let family = match rule.family {
            Some(redirect::Family::V4) => "ipv4",
            Some(redirect::Family::V6) => "ipv6",
            None => "both",
        };
        let packets = i64::try_from(rule.matched.packets).unwrap_or(i64::MAX);
        matched
            .get_or_create(&Rule {
                family,
                chain: rule.chain.name(),
                purpose: rule.purpose.clone(),
            })
            .inc_by(packets);
    }
    // A gauge: it starts again when the rules are made again.
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
    let mut text = String::new();
    encode_text(&mut text, &registry)?;
    Ok(text)
}

const STATES: [(State, &str); 4] = [
    (State::Waiting, "waiting"),
    (State::Ok, "ok"),
    (State::Degraded, "degraded"),
    (State::Failed, "failed"),
];

#[cfg(test)]
mod tests {
    use tokio::sync::watch;

    use super::*;
    use crate::redirection::{Heard, Redirection};

    #[test]
    fn each_component_is_in_exactly_one_state() {
        let mut status = crate::board::blank(String::new());
        status.proxy.state = State::Failed;
        let state = Redirection {
            repairs: 3,
            ..Redirection::default()
        };
        let rules = Rules {
            state: watch::Sender::new(state).subscribe(),
            view: watch::Sender::new(None).subscribe(),
            heard: watch::Sender::new(Heard::default()).subscribe(),
        };
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
}
