//! Others who change back what was written, each time it is written: another controller, a webhook, a second installation.
//! Neither side would ever end. What is undone is put back at once a few times, as after a person's edit, then at longer
//! and longer intervals. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::store::Key;

/// So often at once.
const AT_ONCE: u32 = 5;
/// Before the first time that is not at once; doubled each time up to the other.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// Quiet for so long, it is over.
const OVER: Duration = Duration::from_secs(300);

/// Workloads that somebody else has changed.
#[derive(Debug, Default)]
pub(super) struct Fights(BTreeMap<Key, Fight>);

#[derive(Debug)]
struct Fight {
    undone: u32,
    last: Instant,
}

/// When what was undone may be put back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Back {
    Now,
    /// The first time that it is not at once: people should hear of it.
    FirstPause(Instant),
    Pause(Instant),
}

// === impl Fights ===

impl Fights {
    /// Somebody has undone what was written of `key`.
    pub(super) fn undone(&mut self, key: &Key, now: Instant) -> Back {
        self.0.retain(|_, fight| fight.last + OVER > now);
        let fight = self.0.entry(key.clone()).or_insert(Fight {
            undone: 0,
            last: now,
        });
        fight.undone = fight.undone.saturating_add(1);
        let (least, most) = PAUSES;
        let Some(pauses) = fight.undone.checked_sub(AT_ONCE + 1) else {
            fight.last = now;
            return Back::Now;
        };
        let pause = least.saturating_mul(2_u32.saturating_pow(pauses)).min(most);
        // Until then nothing can be undone.
        fight.last = now + pause;
        if pauses == 0 {
            Back::FirstPause(fight.last)
        } else {
            Back::Pause(fight.last)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_undone_each_time_is_put_back_ever_more_rarely_until_that_is_over() {
        let (mut fights, start) = (Fights::default(), Instant::now());
        let key = |name: &str| ("training".to_owned(), name.to_owned());
        let mut now = start;
        let mut written = 0;
        let mut told = 0;
        while now < start + Duration::from_secs(60) {
            match fights.undone(&key("a"), now) {
                Back::Now => {}
                Back::FirstPause(until) => {
                    told += 1;
                    now = until;
                }
                Back::Pause(until) => now = until,
            }
            written += 1;
        }
        assert_eq!((written, told), (11, 1));
        let pause = Back::Pause(now + PAUSES.1);
        assert_eq!(fights.undone(&key("a"), now), pause);
        assert_eq!(fights.undone(&key("b"), now), Back::Now);
        now += PAUSES.1 + OVER;
        assert_eq!(fights.undone(&key("a"), now), Back::Now);
    }
}
