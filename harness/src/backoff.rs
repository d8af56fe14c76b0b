//! Waits between attempts: doubling, with a random share so that a fleet does not knock in step.

use std::time::Duration;

use rand::Rng;

/// The next wait, doubled at each step up to `max`. `jitter_percent` of each wait is random.
#[derive(Clone, Debug)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    jitter_percent: u8,
    next: Duration,
}

impl Backoff {
    /// Waits from `min` to `max`.
    pub fn new(min: Duration, max: Duration, jitter_percent: u8) -> Self {
        Self {
            min,
            max,
            jitter_percent: jitter_percent.min(100),
            next: min,
        }
    }

    /// How long to wait now; the next answer is twice as long.
    pub fn next_wait(&mut self) -> Duration {
        let wait = self.next;
        self.next = (wait * 2).min(self.max);
        let random = wait.mul_f64(f64::from(self.jitter_percent) / 100.0);
        wait.saturating_sub(random) + random.mul_f64(rand::rng().random::<f64>())
    }

    /// Begins anew after a success.
    pub fn reset(&mut self) {
        self.next = self.min;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_maximum_and_start_anew() {
        let (min, max) = (Duration::from_millis(100), Duration::from_secs(1));
        let mut backoff = Backoff::new(min, max, 0);
        let waits: Vec<u128> = (0..6).map(|_| backoff.next_wait().as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1000, 1000]);
        backoff.reset();
        assert_eq!(backoff.next_wait(), min);
    }

    #[test]
    fn jitter_takes_off_at_most_its_share() {
        for _ in 0..1000 {
            let wait = Backoff::new(Duration::from_secs(1), Duration::from_secs(1), 10).next_wait();
            assert!(
                (Duration::from_millis(900)..=Duration::from_secs(1)).contains(&wait),
                "{wait:?}"
            );
        }
    }
}
