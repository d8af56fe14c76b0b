//! How VMs spread over the replicas again after a restart: a replica that has much more than its share sends some of those
//! that have been with it for long to the others. Pure, but for [`run`].
//!
//! A restarted replica has no VMs, and streams last for months, so without this one of three would bear nothing for ever.
//! Nothing is written by it: a VM that is told `GoAway` is somewhere else before it leaves.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use crate::peer::Peers;

/// How much sooner or later a session is old than the others, in percent.
pub const AGE_SPREAD: u32 = 25;
/// More than this share of the mean, in percent, is too much.
pub const TOO_MUCH: usize = 125;

/// How often a replica looks, and whom it sends away then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// How long a session is left alone, give or take [`AGE_SPREAD`].
    pub age: Duration,
    /// Between two looks at what the others have. Those who are sent away go one after the other within this time.
    pub every: Duration,
    /// Sessions that are sent away after one look, at most.
    pub at_once: usize,
}

/// What the others have, and what may be done about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loads {
    /// Sessions of each other replica. All of them take VMs.
    pub peers: Vec<usize>,
    /// How fast they may become more.
    pub pace: Pace,
}

// === impl Pace ===

impl Default for Pace {
    /// Two hours; five sessions a second at most, a fortieth of what a replica can take.
    fn default() -> Self {
        Self {
            age: Duration::from_secs(2 * 3600),
            every: Duration::from_secs(60),
            at_once: 300,
        }
    }
}

impl Pace {
    /// How old a session becomes before it may be sent away. `draw` is any number, evenly distributed.
    pub fn age_of(&self, draw: u32) -> Duration {
        let youngest = self.age * (100 - AGE_SPREAD) / 100;
        let spread = self.age * 2 * AGE_SPREAD / 100;
        youngest + spread.mul_f64(f64::from(draw) / f64::from(u32::MAX))
    }
}

/// How many of our `own` sessions are too many, when the others have so many. What is above the mean, but only when it is
/// much: moving a VM costs something too. Those sent away may come back here, so it can take a few rounds.
pub fn surplus(own: usize, peers: &[usize]) -> usize {
    if peers.is_empty() {
        return 0;
    }
    let replicas = peers.len().saturating_add(1);
    let all = peers
        .iter()
        .fold(own, |sum, peer| sum.saturating_add(*peer));
    let mean = all.div_ceil(replicas);
    if own.saturating_mul(100) > mean.saturating_mul(TOO_MUCH) {
        own.saturating_sub(mean)
    } else {
        0
    }
}

/// Looks now and then at what the others have. Says nothing while one of them is not known. Ends when nobody listens.
pub async fn run(peers: Peers, pace: Pace, out: mpsc::Sender<Loads>) {
    let mut looks = tokio::time::interval(pace.every);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = looks.tick() => {}
            () = out.closed() => return,
        }
        if let Some(peers) = peers.loads().await
            && out.send(Loads { peers, pace }).await.is_err()
        {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_much_more_than_the_mean_is_too_much() {
        assert_eq!(surplus(1000, &[]), 0);
        assert_eq!(surplus(1000, &[1000, 1000]), 0);
        assert_eq!(surplus(1200, &[900, 900]), 0);
        assert_eq!(surplus(3000, &[0, 0]), 2000);
        assert_eq!(surplus(0, &[10, 10]), 0);
        assert_eq!(surplus(usize::MAX, &[usize::MAX]), 0);
        // One VM and three replicas: it stays where it is.
        assert_eq!(surplus(1, &[0, 0]), 0);
    }

    proptest! {
        #[test]
        fn ages_are_two_hours_give_or_take_a_quarter(draw in any::<u32>()) {
            let age = Pace::default().age_of(draw);
            prop_assert!(age >= Duration::from_secs(5400) && age <= Duration::from_secs(9000));
        }

        #[test]
        fn when_all_do_as_they_are_told_nobody_has_too_much(
            sessions in prop::collection::vec(0..10_000_usize, 2..8)
        ) {
            let of = |index: usize| {
                let mut peers = sessions.clone();
                let own = peers.remove(index);
                surplus(own, &peers)
            };
            let all = sessions.iter().sum::<usize>();
            let mean = all.div_ceil(sessions.len());
            for (index, own) in sessions.iter().enumerate() {
                let sent = of(index);
                prop_assert!(sent == 0 || own - sent == mean);
                prop_assert!((own - sent) * 100 <= mean * TOO_MUCH);
            }
        }
    }
}
