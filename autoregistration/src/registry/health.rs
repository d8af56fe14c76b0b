//! Health as a VM reports it, and the condition that it becomes.

use std::time::Duration;

use linkerd_harness_api::v1::{self, health_report::State};

/// A checked report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// Rises within a session of the harness.
    pub seq: u64,
    /// The state; unknown ones count as starting.
    pub state: State,
    /// `CamelCase`, empty when the VM gave none that can be one.
    pub reason: String,
    /// For people.
    pub message: String,
    /// The workload that the VM thinks it is; empty when it does not know.
    pub workload_uid: String,
}

/// The condition `Ready` of a workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Whether it may receive traffic through a Service.
    pub status: Status,
    /// `CamelCase`.
    pub reason: String,
    /// For people.
    pub message: String,
    /// When the status last changed, since our start.
    pub since: Duration,
}

/// Status of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It may.
    True,
    /// It may not.
    False,
    /// Nobody knows, so it may not.
    Unknown,
}

const LONGEST_REASON: usize = 64;
const LONGEST_MESSAGE: usize = 256;

// === impl Health ===

impl Health {
    /// Takes over a report; texts are cut to what a condition may hold.
    pub fn from_wire(wire: v1::HealthReport) -> Self {
        let camel = wire.reason.len() <= LONGEST_REASON
            && wire.reason.starts_with(|c: char| c.is_ascii_uppercase())
            && wire.reason.chars().all(|c| c.is_ascii_alphanumeric());
        Self {
            seq: wire.seq,
            state: wire.state(),
            message: wire
                .message
                .chars()
                .filter(|c| !c.is_control())
                .take(LONGEST_MESSAGE)
                .collect(),
            reason: if camel { wire.reason } else { String::new() },
            workload_uid: wire.workload_uid,
        }
    }

    fn status(&self) -> (Status, &'static str) {
        match self.state {
            State::Healthy => (Status::True, "ProbeSucceeded"),
            State::Unhealthy => (Status::False, "ProbeFailed"),
            State::Draining => (Status::False, "Draining"),
            State::Starting | State::Unspecified => (Status::False, "Starting"),
        }
    }
}

// === impl Condition ===

impl Condition {
    /// The condition of a workload that was just made.
    pub fn starting(now: Duration) -> Self {
        Self {
            status: Status::False,
            reason: "Starting".into(),
            message: String::new(),
            since: now,
        }
    }

    /// Takes over a report; true when anything but the time changed.
    pub fn report(&mut self, health: &Health, now: Duration) -> bool {
        let (status, reason) = health.status();
        let reason = if health.reason.is_empty() {
            reason
        } else {
            &health.reason
        };
        self.set(status, reason, &health.message, now)
    }

    /// Sets it; true when anything but the time changed.
    pub fn set(&mut self, status: Status, reason: &str, message: &str, now: Duration) -> bool {
        let changed =
            (self.status, self.reason.as_str(), self.message.as_str()) != (status, reason, message);
        if self.status != status {
            self.since = now;
        }
        self.status = status;
        reason.clone_into(&mut self.reason);
        message.clone_into(&mut self.message);
        changed
    }
}

// === impl Status ===

impl Status {
    /// As Kubernetes writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}
