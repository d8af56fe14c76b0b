//! How VMs are sent from one replica to another: when it goes down, and when it has more than its share. Pure.
//!
//! ```text
//! SIGTERM ─▶ not ready ── LEAVE_SERVICE ──▶ GoAway to each session, spread over SPREAD ─▶ end
//! ```
//!
//! A VM that is told `GoAway` opens a stream elsewhere before it closes the old one, so nobody is lost meanwhile. While it
//! lasts, this replica still answers its peers.

use std::time::Duration;

/// From "not ready" until no new connection comes here any more.
pub const LEAVE_SERVICE: Duration = Duration::from_secs(3);
/// Sessions are sent away over this, so that the others take them one after the other.
pub const SPREAD: Duration = Duration::from_secs(20);
/// A session this old may be sent elsewhere, give or take [`AGE_SPREAD`].
pub const AGE: Duration = Duration::from_secs(2 * 3600);
/// In percent of [`AGE`].
pub const AGE_SPREAD: u32 = 25;
/// More than this share of the mean, in percent, is too much.
pub const TOO_MUCH: usize = 125;
/// `Hello`s a second that a replica takes.
pub const HELLOS_PER_SECOND: usize = 200;

const SHORTEST_WINDOW: Duration = Duration::from_secs(1);
const LONGEST_WINDOW: Duration = Duration::from_secs(180);

/// When each of `sessions` is told to go, from the first moment of `window` on.
pub fn slots(sessions: usize, window: Duration) -> impl ExactSizeIterator<Item = Duration> {
    (0..sessions).map(move |slot| {
        let share = window.as_nanos().saturating_mul(slot as u128) / sessions as u128;
        Duration::from_nanos(u64::try_from(share).unwrap_or(u64::MAX))
    })
}

/// How old a session becomes before it is asked whether it should go elsewhere. `draw` is any number, evenly
/// distributed.
pub fn session_age(draw: u32) -> Duration {
    let shortest = AGE * (100 - AGE_SPREAD) / 100;
    let spread = AGE * 2 * AGE_SPREAD / 100;
    shortest + spread.mul_f64(f64::from(draw) / f64::from(u32::MAX))
}

/// How many of our `own` sessions to send away, when each of the peers that take VMs has so many. What is above the mean,
/// but only when it is much: moving a VM costs something too. Those sent away may come back here, so it can take a few
/// rounds.
pub fn rebalance(own: usize, peers: &[usize]) -> usize {
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

/// Over which time the VMs of a replica that is gone come to the others: as long as all take that come to `replicas`.
pub fn reconnect_window(fleet: usize, replicas: usize) -> Duration {
    let rate = replicas.max(1).saturating_mul(HELLOS_PER_SECOND);
    let millis = fleet.saturating_mul(1000) / rate;
    let window = Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX));
    window.clamp(SHORTEST_WINDOW, LONGEST_WINDOW)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_window_is_what_the_replicas_can_take() {
        let secs = Duration::from_secs;
        assert_eq!(reconnect_window(0, 3), secs(1));
        assert_eq!(reconnect_window(100, 1), secs(1));
        assert_eq!(reconnect_window(12_000, 3), secs(20));
        assert_eq!(reconnect_window(12_000, 0), secs(60));
        assert_eq!(reconnect_window(usize::MAX, 1), secs(180));
    }

    #[test]
    fn only_much_more_than_the_mean_is_sent_away() {
        assert_eq!(rebalance(1000, &[]), 0);
        assert_eq!(rebalance(1000, &[1000, 1000]), 0);
        assert_eq!(rebalance(1200, &[900, 900]), 0);
        assert_eq!(rebalance(3000, &[0, 0]), 2000);
        assert_eq!(rebalance(0, &[10, 10]), 0);
        assert_eq!(rebalance(usize::MAX, &[usize::MAX]), 0);
        // One VM and three replicas: it stays where it is.
        assert_eq!(rebalance(1, &[0, 0]), 0);
    }

    proptest! {
        #[test]
        fn slots_begin_at_once_are_even_and_within_the_window(sessions in 0..5000_usize, window in 0..100_u64) {
            let window = Duration::from_secs(window);
            let slots = slots(sessions, window).collect::<Vec<_>>();
            prop_assert_eq!(slots.len(), sessions);
            prop_assert!(slots.first().is_none_or(Duration::is_zero));
            prop_assert!(slots.is_sorted());
            prop_assert!(slots.iter().all(|slot| *slot < window || window.is_zero()));
        }

        #[test]
        fn ages_are_two_hours_give_or_take_a_quarter(draw in any::<u32>()) {
            let age = session_age(draw);
            prop_assert!(age >= Duration::from_secs(5400) && age <= Duration::from_secs(9000));
        }

        #[test]
        fn when_all_do_as_they_are_told_nobody_has_too_much(
            sessions in prop::collection::vec(0..10_000_usize, 2..8)
        ) {
            let of = |index: usize| {
                let mut peers = sessions.clone();
                let own = peers.remove(index);
                rebalance(own, &peers)
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
