//! A replica that has more than its share.

use super::*;
use crate::balance::{Loads, Pace};

const AGE: Duration = Duration::from_secs(2 * 3600);

const NOBODY: [StreamId; 0] = [];

fn many(bench: &mut Bench, vms: u8) {
    for number in 1..=vms {
        let ip = Box::leak(format!("10.77.0.{number}").into_boxed_str());
        let vm = Vm {
            instance: number,
            session: number,
            ip,
            ..VM
        };
        bench.open(number.into(), &vm);
        let claimed = Claimed::Free;
        let stream = number.into();
        assignment(&bench.event(Event::Claimed { stream, claimed }));
    }
}

/// Time passes, and all VMs say that they live.
fn pass(bench: &mut Bench, duration: Duration) {
    let until = bench.now + duration;
    while bench.now < until {
        bench.pass(HEARTBEAT.min(until.saturating_sub(bench.now)));
        for stream in bench.registry.sessions.keys().copied().collect::<Vec<_>>() {
            bench.heartbeat(stream, bench.now.as_secs());
        }
    }
}

/// Who is asked to go when the others have so many.
fn sent(bench: &mut Bench, peers: &[usize]) -> Vec<StreamId> {
    let loads = Loads {
        peers: peers.to_vec(),
        pace: Pace::default(),
    };
    let away = |effect: Effect| match effect {
        Effect::Send(stream, kind) => match *kind {
            Kind::GoAway(away) => {
                assert_eq!((away.reason.as_str(), away.reconnect), ("REBALANCE", true));
                assert_eq!(away.within.unwrap().seconds, 60);
                Some(stream)
            }
            _ => None,
        },
        _ => None,
    };
    let effects = bench.event(Event::Loads(loads)).into_iter();
    effects.filter_map(away).collect()
}

#[test]
fn what_is_too_much_goes_but_only_what_is_old_and_each_once() {
    let mut bench = Bench::of_several(GROUP);
    many(&mut bench, 9);
    pass(&mut bench, (AGE * 3 / 4).saturating_sub(seconds(1)));
    assert_eq!(sent(&mut bench, &[0, 0]), NOBODY, "none is old");
    pass(&mut bench, AGE / 4 + seconds(1));
    let some = sent(&mut bench, &[0, 0]);
    assert!((1..=6).contains(&some.len()), "{some:?}");
    pass(&mut bench, AGE / 4);
    let rest = sent(&mut bench, &[0, 0]);
    let all = some.iter().chain(&rest).collect::<BTreeSet<_>>();
    assert_eq!((all.len(), some.len() + rest.len()), (6, 6));
    assert_eq!(sent(&mut bench, &[0, 0]), NOBODY, "three are left");
}

#[test]
fn all_that_are_old_stay_where_nobody_has_much_less() {
    let mut bench = Bench::of_several(GROUP);
    many(&mut bench, 9);
    pass(&mut bench, AGE * 2);
    for peers in [&[][..], &[9, 9], &[7, 8], &[20, 0]] {
        assert_eq!(sent(&mut bench, peers), NOBODY, "{peers:?}");
    }
    assert_eq!(sent(&mut bench, &[6, 6]).len(), 2);
}

#[test]
fn one_that_comes_back_is_young_again_and_nothing_is_written() {
    let mut bench = Bench::of_several(GROUP);
    many(&mut bench, 2);
    pass(&mut bench, AGE * 2);
    assert_eq!(sent(&mut bench, &[0]), [1]);
    let again = Vm {
        seq: 2,
        ip: "10.77.0.1",
        ..VM
    };
    let effects = bench.open(3, &again);
    assert_eq!(ended(&effects, 1), Some(Reason::Superseded));
    let claimed = Claimed::Free;
    assignment(&bench.event(Event::Claimed { stream: 3, claimed }));
    assert_eq!(sent(&mut bench, &[0]), [2], "the other one goes");
    assert_eq!(bench.ready(), [true, true]);
}

#[test]
fn no_more_go_at_once_than_may_and_none_for_balance_when_all_go() {
    let mut bench = Bench::of_several(GROUP);
    many(&mut bench, 9);
    pass(&mut bench, AGE * 2);
    let slow = Loads {
        peers: vec![0],
        pace: Pace {
            at_once: 3,
            ..Pace::default()
        },
    };
    assert_eq!(bench.event(Event::Loads(slow)).len(), 3);
    bench.event(Event::Depart {
        within: seconds(20),
    });
    assert_eq!(sent(&mut bench, &[0]), NOBODY);
}

#[test]
fn one_that_was_asked_and_stays_is_asked_again_when_it_is_as_old_again() {
    let mut bench = Bench::of_several(GROUP);
    many(&mut bench, 2);
    pass(&mut bench, AGE * 2);
    assert_eq!(sent(&mut bench, &[0]), [1]);
    pass(&mut bench, (AGE * 3 / 4).saturating_sub(seconds(1)));
    assert_eq!(sent(&mut bench, &[0]), NOBODY, "it still may go");
    pass(&mut bench, AGE / 2 + seconds(1));
    assert_eq!(sent(&mut bench, &[0]), [1]);
}
