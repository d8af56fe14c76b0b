//! A token bucket in one number: when it will be full again. One that is full is like one that was never there, so that
//! those who were let in some time ago can be forgotten.

use std::time::Duration;

/// How fast a bucket fills, and how much it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    interval: Duration,
    burst: u32,
}

/// A bucket. Its time is that since some start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bucket {
    full_at: Duration,
}

// === impl Rate ===

impl Rate {
    /// One token each `interval`, `burst` tokens at most.
    pub const fn new(interval: Duration, burst: u32) -> Self {
        Self { interval, burst }
    }

    /// Between two tokens.
    pub(super) fn interval(self) -> Duration {
        self.interval
    }

    /// The same, of which `tokens` are kept for others.
    pub(super) fn without(self, tokens: u32) -> Self {
        Self {
            burst: self.burst.saturating_sub(tokens),
            ..self
        }
    }

    /// Half of what a bucket holds.
    pub(super) fn half(self) -> u32 {
        self.burst / 2
    }
}

// === impl Bucket ===

impl Bucket {
    /// Whether `tokens` can be taken now; else how long until they can.
    pub(super) fn check(self, rate: Rate, tokens: u32, now: Duration) -> Result<(), Duration> {
        let after = self.after(rate, tokens, now);
        let most = now.saturating_add(rate.interval.saturating_mul(rate.burst));
        match after.saturating_sub(most) {
            Duration::ZERO => Ok(()),
            wait => Err(wait),
        }
    }

    /// Takes `tokens`, whether they are there or not.
    pub(super) fn take(&mut self, rate: Rate, tokens: u32, now: Duration) {
        self.full_at = self.after(rate, tokens, now);
    }

    /// Whether it is full, and so need not be kept.
    pub(super) fn is_full(self, now: Duration) -> bool {
        self.full_at <= now
    }

    fn after(self, rate: Rate, tokens: u32, now: Duration) -> Duration {
        let need = rate.interval.saturating_mul(tokens);
        self.full_at.max(now).saturating_add(need)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate::new(Duration::from_secs(5), 3);

    fn take(bucket: &mut Bucket, seconds: u64) -> Result<(), Duration> {
        let now = Duration::from_secs(seconds);
        bucket.check(RATE, 1, now)?;
        bucket.take(RATE, 1, now);
        Ok(())
    }

    #[test]
    fn it_gives_its_burst_and_then_one_token_an_interval() {
        let mut bucket = Bucket::default();
        for _ in 0..3 {
            assert_eq!(take(&mut bucket, 100), Ok(()));
        }
        assert_eq!(take(&mut bucket, 100), Err(Duration::from_secs(5)));
        assert_eq!(take(&mut bucket, 103), Err(Duration::from_secs(2)));
        assert_eq!(take(&mut bucket, 105), Ok(()));
        assert_eq!(take(&mut bucket, 105), Err(Duration::from_secs(5)));
        assert!(!bucket.is_full(Duration::from_secs(119)));
        assert!(bucket.is_full(Duration::from_secs(120)));
    }
}
