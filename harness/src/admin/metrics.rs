//! `/metrics`: the status page as gauges. Label sets are closed.

use std::fmt;

use linkerd_harness_core::status::{State, Status};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode as encode_text;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Part {
    component: &'static str,
    state: &'static str,
}

/// Text in the format `OpenMetrics`.
pub(super) fn encode(status: &Status) -> Result<String, fmt::Error> {
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
    use super::*;

    #[test]
    fn each_component_is_in_exactly_one_state() {
        let mut status = crate::board::blank(String::new());
        status.proxy.state = State::Failed;
        let text = encode(&status).unwrap();
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
