//! Exponential backoff with jitter.

use rand::Rng as _;
use std::time::Duration;

/// How long to wait between tries: doubling from `min` to `max`, plus up to `jitter` of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Backoff {
    pub(crate) min: Duration,
    pub(crate) max: Duration,
    pub(crate) jitter: f64,
}

/// One series of tries.
#[derive(Debug)]
pub(crate) struct Tries {
    backoff: Backoff,
    next: Duration,
}

impl Backoff {
    pub(crate) fn tries(self) -> Tries {
        Tries {
            backoff: self,
            next: self.min,
        }
    }
}

impl Tries {
    /// The wait before the next try.
    pub(crate) fn wait(&mut self) -> Duration {
        let base = self.next;
        self.next = (base * 2).min(self.backoff.max);
        let jitter = self.backoff.jitter * rand::rng().random::<f64>();
        base + base.mul_f64(jitter)
    }

    pub(crate) fn reset(&mut self) {
        self.next = self.backoff.min;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_maximum_and_start_anew_after_a_reset() {
        let ms = Duration::from_millis;
        let mut tries = Backoff {
            min: ms(100),
            max: ms(350),
            jitter: 0.0,
        }
        .tries();
        assert_eq!(
            [tries.wait(), tries.wait(), tries.wait(), tries.wait()],
            [ms(100), ms(200), ms(350), ms(350)]
        );
        tries.reset();
        assert_eq!(tries.wait(), ms(100));
    }
}
