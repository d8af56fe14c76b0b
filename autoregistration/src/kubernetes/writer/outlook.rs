//! Whether the API server answers. While it does not, one call at a time finds out, at longer and longer intervals.

use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::LOUD;
use super::answers::backoff;

/// The longest interval: so late it is noticed that the API server is back.
const LONGEST: Duration = Duration::from_secs(5);
/// A single failure is said to nobody: a connection ends, and the next one works.
const BAD: u32 = 2;
/// As long as an API server may ask us to wait.
const MOST_PATIENCE: Duration = Duration::from_secs(60);

/// Whether the API server answers.
#[derive(Debug, Default)]
pub struct Outlook {
    /// In a row.
    failures: u32,
    not_before: Option<Instant>,
    message: String,
}

// === impl Outlook ===

impl Outlook {
    /// A call has found it away, or was asked to come later.
    pub(super) fn darken(&mut self, message: &str, wait: Option<Duration>, now: Instant) {
        let own = backoff(self.failures).min(LONGEST);
        let wait = wait.unwrap_or_default().min(MOST_PATIENCE).max(own);
        // Those that were sent together fail together, which counts once.
        if self.not_before.is_none_or(|moment| moment <= now) {
            self.failures = self.failures.saturating_add(1);
            self.not_before = Some(now + wait);
        }
        message.clone_into(&mut self.message);
        if self.failures == BAD {
            warn!(
                error = message,
                "the API server does not answer, what is to be written waits"
            );
        } else if self.failures < BAD + LOUD {
            debug!(error = message, "the API server does not answer");
        }
    }

    /// A call was answered.
    pub(super) fn brighten(&mut self) {
        if self.is_dark() {
            info!("the API server answers again");
        }
        *self = Self::default();
    }

    /// Whether it has been away for more than a moment.
    pub fn is_dark(&self) -> bool {
        self.failures >= BAD
    }

    /// What it last said.
    pub(super) fn message(&self) -> &str {
        &self.message
    }

    /// Whether another call may be made.
    pub(super) fn allows(&self, under_way: usize, now: Instant) -> bool {
        match self.not_before {
            None => true,
            Some(moment) => moment <= now && under_way == 0,
        }
    }

    /// When a call that could be made at some moment may be made; `None` when an answer comes before.
    pub(super) fn wake(&self, at: Instant, under_way: usize) -> Option<Instant> {
        match self.not_before {
            None => Some(at),
            Some(_) if under_way > 0 => None,
            Some(moment) => Some(at.max(moment)),
        }
    }
}
