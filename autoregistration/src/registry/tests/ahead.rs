//! A VM knows of a newer edition of its group than the replica that it comes to.

use super::*;
use crate::registry::ahead::CATCHING_UP;

/// The group in this edition.
fn edition(edition: i64) -> Event {
    let mut manifests = Manifests::clone(&manifests(GROUP));
    for group in manifests.groups.values_mut() {
        group.edition = edition;
    }
    Event::Manifests(Arc::new(manifests))
}

/// One of several replicas, which knows of edition 5.
fn bench() -> Bench {
    let mut bench = Bench::of_several(GROUP);
    bench.event(edition(5));
    bench
}

/// It was told of this edition.
fn open(bench: &mut Bench, stream: StreamId, edition: i64) -> Vec<Effect> {
    bench.event(Event::Opened {
        stream,
        caller: ID.parse().unwrap(),
        hello: Box::new(Hello {
            edition,
            ..VM.hello()
        }),
    })
}

/// Whether it goes on: the other replicas are asked for it.
fn goes_on(effects: &[Effect], stream: StreamId) -> bool {
    effects
        .iter()
        .any(|effect| matches!(effect, Effect::Claim(of, _) if *of == stream))
}

#[test]
fn it_goes_on_when_the_edit_has_reached_us() {
    let mut bench = bench();
    assert_eq!(open(&mut bench, 1, 7), []);
    bench.pass(seconds(1));
    assert_eq!(bench.event(edition(6)), [], "that is not yet the one");
    assert!(goes_on(&bench.event(edition(7)), 1));
    let effects = bench.event(Event::Claimed {
        stream: 1,
        claimed: Claimed::Free,
    });
    assert_eq!(assignment(&effects).group_generation, 7);
}

#[test]
fn it_waits_no_longer_than_two_seconds_and_once() {
    let mut bench = bench();
    open(&mut bench, 1, i64::MAX);
    let almost = CATCHING_UP.checked_sub(Duration::from_millis(1)).unwrap();
    assert_eq!(bench.pass(almost), []);
    assert!(goes_on(&bench.pass(Duration::from_millis(1)), 1));
    let effects = bench.event(Event::Claimed {
        stream: 1,
        claimed: Claimed::Free,
    });
    assert_eq!(assignment(&effects).group_generation, 5);
    assert_eq!(CATCHING_UP, seconds(2), "as the protocol says");
}

#[test]
fn nobody_waits_who_knows_no_more_than_we_do() {
    for known in [0, 4, 5, -1] {
        let mut bench = bench();
        assert!(goes_on(&open(&mut bench, 1, known), 1), "{known}");
    }
    // What a replica that is alone does not know has not happened.
    let mut alone = Bench::new(GROUP);
    assignment(&open(&mut alone, 1, 9));
}

#[test]
fn one_that_hangs_up_meanwhile_is_forgotten_and_one_whose_group_goes_is_told() {
    let mut bench = bench();
    open(&mut bench, 1, 7);
    bench.event(Event::Closed { stream: 1 });
    assert_eq!(bench.pass(seconds(3)), []);
    open(&mut bench, 2, 7);
    let effects = bench.event(Event::Manifests(manifests("")));
    let pending = |effect: &Effect| matches!(effect, Effect::Send(2, kind) if matches!(kind.as_ref(), Kind::Pending(_)));
    assert!(effects.iter().any(pending), "{effects:?}");
}
