//! Counters and gauges of what is read from and written to the API server.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Seconds from a wish for another readiness to the API server's answer.
const TRANSITIONS: [f64; 12] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0,
];

/// The metrics of the store; clones count together.
#[derive(Clone, Debug)]
pub struct Metrics {
    writes: Family<Call, Counter>,
    depth: Gauge,
    age: Gauge<f64, std::sync::atomic::AtomicU64>,
    transitions: Histogram,
    restarts: Family<Kind, Counter>,
    available: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Call {
    op: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

// === impl Metrics ===

impl Default for Metrics {
    fn default() -> Self {
        Self {
            writes: Family::default(),
            depth: Gauge::default(),
            age: Gauge::default(),
            transitions: Histogram::new(TRANSITIONS),
            restarts: Family::default(),
            available: Gauge::default(),
        }
    }
}

impl Metrics {
    /// Puts them among others.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "writes",
            "Calls about single ExternalWorkloads by what they do and how they ended",
            Family::clone(&self.writes),
        );
        registry.register(
            "write_queue_depth",
            "ExternalWorkloads that wait for a write",
            Gauge::clone(&self.depth),
        );
        registry.register(
            "write_queue_age_seconds",
            "How long the first of those that wait for a write has waited",
            Gauge::clone(&self.age),
        );
        registry.register(
            "ready_transition_seconds",
            "From the wish for another readiness to the API server's answer",
            Histogram::clone(&self.transitions),
        );
        registry.register(
            "watch_restarts",
            "Watches that have failed and begun anew",
            Family::clone(&self.restarts),
        );
        registry.register(
            "api_available",
            "1 while the API server answers",
            Gauge::clone(&self.available),
        );
    }

    pub(super) fn call(&self, op: &'static str, outcome: &'static str) {
        self.writes.get_or_create(&Call { op, outcome }).inc();
    }

    pub(super) fn queue(&self, depth: usize, age: Duration) {
        self.depth.set(i64::try_from(depth).unwrap_or(i64::MAX));
        self.age.set(age.as_secs_f64());
    }

    pub(super) fn transition(&self, duration: Duration) {
        self.transitions.observe(duration.as_secs_f64());
    }

    /// Counts a watch of `kind` that has failed.
    pub fn watch_restarted(&self, kind: &'static str) {
        self.restarts.get_or_create(&Kind { kind }).inc();
    }

    pub(super) fn available(&self, available: bool) {
        self.available.set(i64::from(available));
    }
}
