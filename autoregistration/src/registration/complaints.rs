//! How many refusals of strangers are written to the log: anybody who reaches the port can cause them, as fast as he
//! likes. All of them are counted in the metrics.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Lines in each period; enough to see what goes wrong with a VM that is being set up.
const MOST: u32 = 10;
const PERIOD: Duration = Duration::from_secs(60);

/// The lines of the present period.
#[derive(Debug)]
pub(super) struct Complaints(Mutex<Period>);

#[derive(Debug)]
struct Period {
    since: Instant,
    lines: u32,
}

// === impl Complaints ===

impl Default for Complaints {
    fn default() -> Self {
        Self(Mutex::new(Period {
            since: Instant::now(),
            lines: 0,
        }))
    }
}

impl Complaints {
    /// Whether one more may be written.
    pub(super) fn may_be_said(&self) -> bool {
        let mut period = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if period.since.elapsed() >= PERIOD {
            *period = Period {
                since: Instant::now(),
                lines: 0,
            };
        }
        period.lines = period.lines.saturating_add(1);
        period.lines <= MOST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn so_many_lines_are_written_in_a_period_and_not_more() {
        let complaints = Complaints::default();
        let said = || (0..100).filter(|_| complaints.may_be_said()).count();
        assert_eq!(said(), 10);
        tokio::time::advance(PERIOD / 2).await;
        assert_eq!(said(), 0);
        tokio::time::advance(PERIOD / 2).await;
        assert_eq!(said(), 10);
    }
}
