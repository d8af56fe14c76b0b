use proptest::prelude::*;

use super::*;

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn of(present: usize, lost: usize) -> Count {
    Count { present, lost }
}

#[test]
fn it_begins_above_thirty_percent_and_above_five() {
    let cases = [
        (of(70, 30), None),
        (of(69, 31), Some(Change::Began)),
        (of(0, 5), None),
        (of(0, 6), Some(Change::Began)),
        (of(0, 0), None),
        (of(usize::MAX, usize::MAX), None),
    ];
    for (count, expected) in cases {
        assert_eq!(
            Breaker::default().count(secs(0), count),
            expected,
            "{count:?}"
        );
    }
}

#[test]
fn it_ends_when_most_are_back_and_their_grace_begins_anew() {
    let mut breaker = Breaker::default();
    breaker.count(secs(0), of(50, 50));
    assert_eq!(breaker.count(secs(10), of(84, 16)), None);
    assert!(breaker.is_active());
    assert_eq!(breaker.count(secs(20), of(85, 15)), Some(Change::Recovered));
    assert!(!breaker.is_active());
    assert_eq!(breaker.ended(), Some(secs(20)));
}

#[test]
fn after_an_hour_it_is_the_truth_and_the_same_loss_never_begins_it_again() {
    let mut breaker = Breaker::default();
    breaker.count(secs(0), of(50, 50));
    assert_eq!(breaker.count(secs(3599), of(50, 50)), None);
    assert_eq!(breaker.count(secs(3600), of(50, 50)), Some(Change::GivenUp));
    // Their grace passes, they are called unreachable, little by little.
    assert_eq!(breaker.count(secs(3640), of(50, 50)), None);
    breaker.called_unreachable(secs(3650), 20);
    assert_eq!(breaker.count(secs(3660), of(50, 30)), None);
    breaker.called_unreachable(secs(3660), 30);
    assert_eq!(breaker.count(secs(3670), of(50, 0)), None);
    // Another loss is another matter.
    assert_eq!(breaker.count(secs(3680), of(30, 20)), Some(Change::Began));
}

#[test]
fn a_loss_in_waves_is_seen_whole_within_two_minutes() {
    let mut breaker = Breaker::default();
    for (at, present) in [(0, 88), (50, 76)] {
        assert_eq!(breaker.count(secs(at), of(present, 12)), None);
        breaker.called_unreachable(secs(at + 1), 12);
    }
    assert_eq!(
        breaker.clone().count(secs(100), of(64, 12)),
        Some(Change::Began)
    );
    // Long after the first wave it would be two.
    assert_eq!(breaker.count(secs(121), of(64, 12)), None);
}

#[test]
fn a_new_leader_sees_for_itself() {
    let mut breaker = Breaker::default();
    breaker.count(secs(0), of(0, 50));
    breaker.reset();
    assert!(!breaker.is_active());
    assert_eq!(breaker.count(secs(10), of(0, 50)), Some(Change::Began));
}

proptest! {
    /// Whatever is counted: it never holds for longer than an hour, and only what is a mass begins it.
    #[test]
    fn it_begins_for_a_mass_only_and_holds_for_an_hour_at_most(
        counts in prop::collection::vec((1..900_u64, 0..200_usize, 0..200_usize, 0..200_usize), 1..200)
    ) {
        let mut breaker = Breaker::default();
        let (mut now, mut since) = (0, None);
        let mut called = VecDeque::new();
        for (later, present, lost, unreachable) in counts {
            now += later;
            let change = breaker.count(secs(now), of(present, lost));
            called.retain(|(at, _)| now - at < WINDOW.as_secs());
            let most = lost + called.iter().map(|(_, number)| number).sum::<usize>();
            match change {
                Some(Change::Began) => {
                    prop_assert!(since.is_none());
                    prop_assert!(most > FEW);
                    prop_assert!(most * 100 > (most + present) * BEGINS);
                    since = Some(now);
                }
                Some(_) => prop_assert!(since.take().is_some()),
                None => {}
            }
            prop_assert_eq!(breaker.is_active(), since.is_some());
            prop_assert!(since.is_none_or(|since| now - since < LONGEST.as_secs()));
            if !breaker.is_active() {
                let unreachable = unreachable.min(lost);
                breaker.called_unreachable(secs(now), unreachable);
                called.push_back((now, unreachable));
            }
        }
    }

    /// One loss, whatever its size, is called what it is within an hour and the grace.
    #[test]
    fn one_loss_suspends_once(present in 0..1000_usize, lost in 0..1000_usize, batch in 1..100_usize) {
        let mut breaker = Breaker::default();
        let (mut left, mut began) = (lost, 0);
        for now in (0..36_000).step_by(10).map(secs) {
            began += usize::from(breaker.count(now, of(present, left)) == Some(Change::Began));
            if !breaker.is_active() {
                let called = batch.min(left);
                breaker.called_unreachable(now, called);
                left -= called;
            }
        }
        prop_assert!(began <= 1);
        prop_assert_eq!(left, 0);
    }
}
