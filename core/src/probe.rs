//! A probe on the application and the threshold state machine that turns its results into one answer.
//!
//! Field meanings and defaults are Kubernetes' (and the `ExternalGroup`'s).

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A check on the application, run from the VM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// What is asked.
    pub check: Check,
    /// Wait before the first run.
    pub initial_delay: Duration,
    /// Between two runs, at least 1 s.
    pub period: Duration,
    /// Of one run, at least 1 s.
    pub timeout: Duration,
    /// Successes in a row that make it healthy, at least 1.
    pub success_threshold: u32,
    /// Failures in a row that make it unhealthy, at least 1.
    pub failure_threshold: u32,
}

/// What a probe asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Check {
    /// `GET`; a status from 200 to 399 is a success.
    HttpGet {
        /// `HTTP` or `HTTPS`; the certificate is not checked, as in Kubernetes.
        scheme: Scheme,
        /// Host to connect to, usually `127.0.0.1`.
        host: String,
        /// Port to connect to.
        port: u16,
        /// Path and query, begins with `/`.
        path: String,
        /// Header names and values; `Host` replaces the default.
        headers: Vec<(String, String)>,
    },
}

/// Scheme of an HTTP probe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Scheme {
    /// Plain HTTP/1.1.
    #[default]
    Http,
    /// HTTP/1.1 over TLS.
    Https,
}

/// Counts results in a row; a verdict changes only when a threshold is reached. Starts undecided.
#[derive(Clone, Debug)]
pub struct Threshold {
    success_threshold: u32,
    failure_threshold: u32,
    healthy: Option<bool>,
    streak: u32,
    last: Option<bool>,
}

// === impl Threshold ===

impl Threshold {
    /// The machine for one probe.
    pub fn new(probe: &Probe) -> Self {
        Self {
            success_threshold: probe.success_threshold.max(1),
            failure_threshold: probe.failure_threshold.max(1),
            healthy: None,
            streak: 0,
            last: None,
        }
    }

    /// Takes the result of one run; answers the new verdict when it changed.
    pub fn observe(&mut self, success: bool) -> Option<bool> {
        self.streak = if self.last == Some(success) {
            self.streak.saturating_add(1)
        } else {
            1
        };
        self.last = Some(success);
        let needed = if success {
            self.success_threshold
        } else {
            self.failure_threshold
        };
        if self.streak < needed || self.healthy == Some(success) {
            return None;
        }
        self.healthy = Some(success);
        self.healthy
    }

    /// The verdict so far; `None` until a threshold was reached.
    pub fn healthy(&self) -> Option<bool> {
        self.healthy
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn threshold(success: u32, failure: u32) -> Threshold {
        Threshold::new(&Probe {
            check: Check::HttpGet {
                scheme: Scheme::Http,
                host: "127.0.0.1".into(),
                port: 80,
                path: "/".into(),
                headers: Vec::new(),
            },
            initial_delay: Duration::ZERO,
            period: Duration::from_secs(10),
            timeout: Duration::from_secs(1),
            success_threshold: success,
            failure_threshold: failure,
        })
    }

    #[test]
    fn a_verdict_needs_the_threshold_in_a_row() {
        let mut probe = threshold(2, 3);
        assert_eq!(probe.observe(true), None);
        assert_eq!(probe.observe(false), None);
        assert_eq!(probe.observe(true), None);
        assert_eq!(probe.observe(true), Some(true));
        assert_eq!(probe.observe(true), None);
        assert_eq!(probe.observe(false), None);
        assert_eq!(probe.observe(false), None);
        assert_eq!(probe.healthy(), Some(true));
        assert_eq!(probe.observe(false), Some(false));
        assert_eq!(probe.healthy(), Some(false));
    }

    #[test]
    fn zero_thresholds_act_as_one() {
        let mut probe = threshold(0, 0);
        assert_eq!(probe.observe(false), Some(false));
        assert_eq!(probe.observe(true), Some(true));
    }
}
