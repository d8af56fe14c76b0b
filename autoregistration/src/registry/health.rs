//! Health as a VM reports it, and the condition that it becomes.

use std::time::Duration;

use linkerd_harness_api::v1::{self, health_report::State};

use crate::store::Ready;
pub use crate::store::Status;

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

/// The condition `Ready` of a workload, and what keeps it from flapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Whether it may receive traffic through a Service, and why.
    pub ready: Ready,
    /// When the status last changed, since our start.
    pub since: Duration,
    /// How long it has to stay unready after it fell.
    penalty: Duration,
    /// When it last fell from ready.
    fell: Option<Duration>,
    /// Other reasons of the same status since the first of them.
    reasons: (u32, Duration),
}

const LONGEST_REASON: usize = 64;
const LONGEST_MESSAGE: usize = 256;
/// A uid has 36 characters; what is longer than this is none.
const LONGEST_UID: usize = 64;

/// How long a workload that was ready and is not any more stays so, at least.
pub(super) const LEAST_PENALTY: Duration = Duration::from_secs(5);
/// The same for one that falls again and again; doubled with each fall up to this.
const LONGEST_PENALTY: Duration = Duration::from_secs(60);
/// So many other reasons of the same status count within this time.
const REASONS: (u32, Duration) = (3, Duration::from_secs(60));
/// Ready for so long, falls are forgotten.
const FORGIVEN: Duration = Duration::from_secs(300);

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
            workload_uid: wire.workload_uid.chars().take(LONGEST_UID).collect(),
        }
    }

    /// The condition that it asks for.
    fn ready(&self) -> Ready {
        let (status, reason) = match self.state {
            State::Healthy => (Status::True, "ProbeSucceeded"),
            State::Unhealthy => (Status::False, "ProbeFailed"),
            State::Draining => (Status::False, "Draining"),
            State::Starting | State::Unspecified => (Status::False, "Starting"),
        };
        Ready {
            status,
            reason: if self.reason.is_empty() {
                reason.to_owned()
            } else {
                self.reason.clone()
            },
            message: self.message.clone(),
        }
    }
}

// === impl Condition ===

impl Condition {
    /// As it is said to be at this moment, with nothing known of the past.
    pub fn new(ready: Ready, now: Duration) -> Self {
        Self {
            ready,
            since: now,
            penalty: LEAST_PENALTY,
            fell: None,
            reasons: (0, now),
        }
    }

    /// Takes over a report. One that says "ready" too soon after a fall does not count yet: false, and it is for the
    /// caller to come again at [`Self::held_until`].
    pub fn report(&mut self, health: &Health, now: Duration) -> bool {
        let ready = health.ready();
        let rises = ready.status == Status::True && self.ready.status != Status::True;
        if rises && self.held_until().is_some_and(|until| until > now) {
            return false;
        }
        if ready.status == self.ready.status && ready.reason != self.ready.reason {
            let (number, first) = self.reasons;
            self.reasons = if now.saturating_sub(first) < REASONS.1 {
                (number + 1, first)
            } else {
                (1, now)
            };
            if self.reasons.0 > REASONS.0 {
                // Each is a write that changes nothing for anybody who sends traffic.
                return true;
            }
        }
        self.set(ready, now);
        true
    }

    /// Sets it. To become unready is never delayed.
    pub fn set(&mut self, ready: Ready, now: Duration) {
        if self.ready.status != ready.status {
            if self.ready.status == Status::True {
                self.fall(now);
            }
            self.since = now;
        }
        self.ready = ready;
    }

    /// Until when it cannot become ready again.
    pub fn held_until(&self) -> Option<Duration> {
        (self.ready.status != Status::True)
            .then(|| Some(self.fell?.saturating_add(self.penalty)))
            .flatten()
    }

    fn fall(&mut self, now: Duration) {
        let lasted = now.saturating_sub(self.since);
        self.penalty = match self.fell {
            Some(_) if lasted < FORGIVEN => (self.penalty * 2).min(LONGEST_PENALTY),
            _ => LEAST_PENALTY,
        };
        self.fell = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health(state: State) -> Health {
        Health::from_wire(v1::HealthReport {
            state: state.into(),
            ..v1::HealthReport::default()
        })
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn what_is_kept_of_a_report_is_bounded() {
        let health = Health::from_wire(v1::HealthReport {
            reason: "A".repeat(65),
            message: "ä".repeat(1 << 16),
            workload_uid: "ü".repeat(1 << 16),
            ..v1::HealthReport::default()
        });
        assert_eq!(health.reason, "");
        assert_eq!(health.message.chars().count(), LONGEST_MESSAGE);
        assert_eq!(health.workload_uid.chars().count(), LONGEST_UID);
    }

    #[test]
    fn the_first_rise_is_at_once_and_each_fall_makes_the_next_one_wait_longer() {
        let mut condition = Condition::new(Ready::starting(), Duration::ZERO);
        assert!(condition.report(&health(State::Healthy), seconds(1)));
        let mut now = seconds(2);
        for wait in [5, 10, 20, 40, 60, 60] {
            assert!(
                condition.report(&health(State::Unhealthy), now),
                "a fall is never delayed"
            );
            assert_eq!(condition.held_until(), Some(now + seconds(wait)));
            let early = now + seconds(wait).mul_f64(0.999);
            assert!(!condition.report(&health(State::Healthy), early));
            assert_eq!(condition.ready.reason, "ProbeFailed");
            now += seconds(wait);
            assert!(condition.report(&health(State::Healthy), now));
            now += seconds(1);
        }
        now += FORGIVEN;
        condition.report(&health(State::Unhealthy), now);
        assert_eq!(condition.held_until(), Some(now + LEAST_PENALTY));
    }

    #[test]
    fn reasons_that_change_all_the_time_are_left_out() {
        let mut condition = Condition::new(Ready::starting(), Duration::ZERO);
        let because = |reason: &str| {
            Health::from_wire(v1::HealthReport {
                state: State::Unhealthy.into(),
                reason: reason.into(),
                ..v1::HealthReport::default()
            })
        };
        for (reason, shown) in [("A", "A"), ("B", "B"), ("C", "C"), ("D", "C"), ("E", "C")] {
            condition.report(&because(reason), seconds(1));
            assert_eq!(condition.ready.reason, shown);
        }
        condition.report(&because("F"), seconds(61));
        assert_eq!(condition.ready.reason, "F");
    }

    #[test]
    fn other_reasons_of_being_unready_count_at_once() {
        let mut condition = Condition::new(Ready::starting(), Duration::ZERO);
        condition.report(&health(State::Healthy), seconds(1));
        condition.report(&health(State::Unhealthy), seconds(2));
        condition.report(&health(State::Draining), seconds(3));
        assert_eq!(condition.ready.reason, "Draining");
        assert_eq!(condition.since, seconds(2));
        assert_eq!(condition.held_until(), Some(seconds(7)));
    }
}
