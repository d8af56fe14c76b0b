//! The few figures that we want of the proxy's `/metrics`.
//!
//! The page of a busy proxy is megabytes long and is read every second, so it is scanned as it arrives and never
//! held. Only the text format's lines are understood, not its types: the names are the proxy's own.

use std::time::Duration;

const REFRESHES: &str = "control_identity_cert_refreshes_total";
const EXPIRES: &str = "control_identity_cert_expiration_timestamp_seconds";
const POLICY_ENDPOINTS: &str = "control_policy_balancer_endpoints";

/// A longer line is none of ours.
const MAX_LINE: usize = 4096;

/// What the proxy's metrics say of its identity and its control plane.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics {
    /// Certificates loaded since the proxy's start.
    pub refreshes: u64,
    /// Expiry of the present certificate since the Unix epoch; zero when there is none.
    pub expires: Duration,
    /// Replicas of the policy controller that the proxy is connected to.
    pub policy_endpoints: u64,
}

/// Reads a page piece by piece.
#[derive(Clone, Debug, Default)]
pub struct Scan {
    /// The begin of a line whose end has not arrived; at most [`MAX_LINE`] long.
    line: Vec<u8>,
    /// Whether the present line is too long to be ours.
    skipping: bool,
    metrics: Metrics,
}

// === impl Scan ===

impl Scan {
    /// Takes the next bytes of the page.
    pub fn feed(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|b| *b == b'\n') {
            let (text, ended) = match piece.split_last() {
                Some((b'\n', text)) => (text, true),
                _ => (piece, false),
            };
            if self.skipping || self.line.len() + text.len() > MAX_LINE {
                self.skipping = !ended;
                self.line.clear();
            } else if ended && self.line.is_empty() {
                self.metrics.take(text);
            } else {
                self.line.extend_from_slice(text);
                if ended {
                    self.metrics.take(&self.line);
                    self.line.clear();
                }
            }
        }
    }

    /// The figures, when the page has ended.
    pub fn finish(mut self) -> Metrics {
        self.metrics.take(&self.line);
        self.metrics
    }
}

// === impl Metrics ===

impl Metrics {
    fn take(&mut self, line: &[u8]) {
        if !line.starts_with(b"control_") {
            return;
        }
        let Some((name, labels, value)) = std::str::from_utf8(line).ok().and_then(sample) else {
            return;
        };
        match name {
            REFRESHES if has_label(labels, "result", "ok") => {
                self.refreshes = self.refreshes.saturating_add(count(value));
            }
            EXPIRES => self.expires = Duration::try_from_secs_f64(value).unwrap_or_default(),
            POLICY_ENDPOINTS if has_label(labels, "endpoint_state", "ready") => {
                self.policy_endpoints = self.policy_endpoints.saturating_add(count(value));
            }
            _ => {}
        }
    }
}

/// Splits `name{labels} value` and `name value`; a timestamp behind the value is left alone.
fn sample(line: &str) -> Option<(&str, &str, f64)> {
    let name_end = line.find(['{', ' '])?;
    let (name, rest) = line.split_at_checked(name_end)?;
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => rest.rsplit_once('}')?,
        None => ("", rest),
    };
    let value = rest.split_ascii_whitespace().next()?.parse().ok()?;
    Some((name, labels, value))
}

/// Labels are `a="b",c="d"`. The values asked for hold no quotes, so an escaped one cannot look like them.
fn has_label(labels: &str, name: &str, value: &str) -> bool {
    let label = format!("{name}=\"{value}\"");
    labels.starts_with(&label) || labels.contains(&format!(",{label}"))
}

/// A counter or gauge as a whole number: NaN and negative values count as none.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates, and fractions do not occur in counts"
)]
fn count(value: f64) -> u64 {
    value as u64
}
