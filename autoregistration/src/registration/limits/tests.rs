use std::collections::BTreeMap;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn id(name: usize) -> SpiffeId {
    format!("spiffe://td/vm-{name}").parse().unwrap()
}

/// A sequence that is spread well and the same each time.
fn spread(number: usize) -> f64 {
    let golden = 0.618_033_988_749_894_9;
    let number = u32::try_from(number).unwrap();
    (f64::from(number) * golden).fract()
}

/// VMs, each of its own identity or all of one, come back within `window` to `replicas` that know nobody, and again when
/// they are told to. When was the last one in, and how often was one sent away?
fn reconnect(vms: usize, replicas: usize, window: Duration, shared: bool) -> (Duration, usize) {
    let limits = Limits::default();
    let mut buckets = Vec::new();
    buckets.resize_with(replicas, Buckets::default);
    let mut coming = BTreeMap::new();
    for vm in 0..vms {
        coming.insert((window.mul_f64(spread(vm)), vm), 0);
    }
    let (mut last, mut refused) = (Duration::ZERO, 0);
    while let Some(((now, vm), attempt)) = coming.pop_first() {
        let caller = Caller {
            identity: if shared { 0 } else { vm as u64 },
            instance: Some(vm as u64),
        };
        let replica = (vm * 7 + attempt * 11) % replicas;
        match buckets[replica].take(&limits, caller, now, spread(vm + refused)) {
            Ok(()) => last = last.max(now),
            Err((_, wait)) => {
                refused += 1;
                coming.insert((now + wait, vm), attempt + 1);
            }
        }
        assert!(buckets[replica].len() < 20_000);
    }
    (last, refused)
}

#[test]
fn after_a_restart_ten_thousand_vms_are_in_within_their_window() {
    // Fleet / (replicas x 200/s).
    let window = Duration::from_secs(17);
    let (last, refused) = reconnect(10_000, 3, window, false);
    assert!(last <= window + SECOND, "{last:?}, {refused} refused");
}

#[test]
fn when_they_all_come_at_one_moment_they_are_in_as_fast_as_the_limit_allows() {
    for shared in [false, true] {
        let (last, refused) = reconnect(10_000, 1, Duration::from_millis(1), shared);
        let least = Duration::from_secs((10_000 - 400) / 200);
        assert!(
            last + SECOND >= least && last <= least + SECOND * 15,
            "{last:?}"
        );
        // Told well when to come, nobody comes often in vain.
        assert!(refused < 50_000, "{refused}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_machine_is_let_in_three_times_and_then_once_in_five_seconds() {
    let limiter = Limiter::new(Limits::default());
    let take = |machine: u8| limiter.take(&id(1), Some(&[machine]));
    for _ in 0..3 {
        assert_eq!(take(1), Ok(()));
    }
    let (limit, wait) = take(1).unwrap_err();
    assert_eq!(limit, Limit::Instance);
    assert!(wait >= SECOND * 5 && wait <= SECOND * 6, "{wait:?}");
    assert_eq!(take(2), Ok(()), "another machine of the same identity");
    assert_eq!(limiter.take(&id(1), None), Ok(()), "a question");
    tokio::time::advance(SECOND * 5).await;
    assert_eq!(take(1), Ok(()));
    assert!(take(1).is_err());
}

#[tokio::test(start_paused = true)]
async fn an_identity_that_floods_leaves_half_of_the_room_to_others() {
    let limiter = Limiter::new(Limits::default());
    let flood = || (0..1000_u32).filter(|n| limiter.take(&id(0), Some(&n.to_be_bytes())).is_ok());
    assert_eq!(flood().count(), 200);
    for _ in 0..10 {
        let (limit, _) = limiter.take(&id(0), None).unwrap_err();
        assert_eq!(limit, Limit::Identity);
    }
    let others = (1..1000).filter(|n| limiter.take(&id(*n), Some(&[1])).is_ok());
    assert_eq!(others.count(), 200);
    assert_eq!(limiter.take(&id(2000), None).unwrap_err().0, Limit::Replica);
}

#[tokio::test(start_paused = true)]
async fn what_is_remembered_is_bounded_and_forgotten() {
    let limiter = Limiter::new(Limits::default());
    let kept = || limiter.buckets.lock().unwrap().len();
    let mut most = 0;
    let mut taken = 0;
    for n in 0..100_000 {
        // Most of them are refused, which is not remembered.
        taken += usize::from(limiter.take(&id(n), Some(&[1])).is_ok());
        most = most.max(kept());
        tokio::time::advance(Duration::from_millis(1)).await;
    }
    assert!(most < 8_000, "{most}");
    assert!(taken > 20_000, "{taken}");
    tokio::time::advance(SECOND * 60).await;
    for n in 0..2000 {
        assert_eq!(limiter.take(&id(n), Some(&[1])), Ok(()));
        tokio::time::advance(Duration::from_millis(10)).await;
    }
    assert!(kept() < 3_000, "{}", kept());
}
