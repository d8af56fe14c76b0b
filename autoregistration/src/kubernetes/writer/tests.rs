//! The writer against an API server that is made up: it forgets, lags, refuses and fails as it likes.

mod anything;
mod fights;
mod fixture;
mod rollout;

use serde_json::json;

use self::fixture::{Bench, SECOND, at, failed, healthy, key, present};
use super::answers::REFUSED;
use super::*;
use crate::store::Ready;

#[test]
fn one_call_for_a_workload_at_a_time_and_the_newest_wish_counts() {
    let mut bench = Bench::new();
    bench.wish("a", present(at(2), healthy()));
    let call = bench.call().unwrap();
    bench.wish("a", present(at(3), failed()));
    bench.wish("a", present(at(4), failed()));
    assert_eq!(bench.call(), None);
    let answer = bench.carry_out(&call);
    bench.answer(&call, answer);
    bench.settle();
    assert!(bench.is_so("a", &present(at(4), failed())));
    assert_eq!(bench.writes, 3, "made, marked, changed");
}

#[test]
fn an_answer_counts_before_the_watch_has_told_it() {
    let mut bench = Bench::new();
    bench.wish("a", present(at(2), Ready::starting()));
    let call = bench.call().unwrap();
    let answer = bench.carry_out(&call);
    bench.answer(&call, answer);
    assert!(bench.there.contains_key(&key("a")), "it is told at once");
    assert_eq!(bench.call(), None, "and not made again");
    bench.hear();
    assert!(!bench.writer.has_news(), "the watch has nothing new");
}

#[test]
fn an_api_server_that_is_away_is_asked_by_one_call_at_a_time_and_all_is_kept() {
    let mut bench = Bench::new();
    for number in 0..50 {
        bench.wish(
            &format!("{number:02}"),
            present(at(number), Ready::starting()),
        );
    }
    let calls: Vec<Call> = std::iter::from_fn(|| bench.call()).collect();
    assert_eq!(calls.len(), 32);
    for call in &calls {
        bench.answer(call, Answer::Unavailable("refused".to_owned(), None));
    }
    assert_eq!(bench.failed, [], "they failed together, which is once");
    assert_eq!(bench.call(), None);
    let mut gap = Duration::ZERO;
    for _ in 0..20 {
        let wake = bench.writer.wake(bench.now).unwrap();
        gap = wake - bench.now;
        bench.now = wake;
        let call = bench.call().unwrap();
        assert_eq!(bench.call(), None, "one at a time");
        bench.answer(&call, Answer::Unavailable("refused".to_owned(), None));
        assert!(!bench.writer.is_available());
    }
    assert!(gap > 2 * SECOND && gap <= 5 * SECOND, "{gap:?}");
    assert_eq!(bench.failed.len(), 50, "each is told once");
    bench.wish("new", present(at(99), Ready::starting()));
    bench.settle();
    assert_eq!(bench.objects.len(), 51);
    assert!(bench.writer.is_available());
}

#[test]
fn the_patience_that_is_asked_for_is_had() {
    let mut bench = Bench::new();
    bench.wish("a", present(at(2), Ready::starting()));
    let call = bench.call().unwrap();
    bench.answer(
        &call,
        Answer::Unavailable("busy".to_owned(), Some(7 * SECOND)),
    );
    assert_eq!(bench.writer.wake(bench.now), Some(bench.now + 7 * SECOND));
    assert_eq!(bench.failed, []);
    bench.wish("b", present(at(3), Ready::starting()));
    assert_eq!(bench.call(), None);
    bench.settle();
    assert_eq!(bench.objects.len(), 2);
}

#[test]
fn one_write_that_fails_holds_up_no_other_one() {
    let mut bench = Bench::new();
    bench.wish("a", present(at(2), Ready::starting()));
    let call = bench.call().unwrap();
    bench.wish("b", present(at(3), Ready::starting()));
    bench.answer(&call, Answer::Failed("a webhook has panicked".to_owned()));
    assert_eq!(bench.failed, [(key("a"), Failure::Unavailable)]);
    let call = bench.call().unwrap();
    assert_eq!(call.key, key("b"));
    let answer = bench.carry_out(&call);
    bench.answer(&call, answer);
    bench.settle();
    assert_eq!(bench.objects.len(), 2);
}

#[test]
fn what_is_refused_is_tried_again_late_or_with_another_wish() {
    let mut bench = Bench::new();
    bench.wish("a", present(at(2), Ready::starting()));
    let call = bench.call().unwrap();
    bench.answer(&call, Answer::Refused("forbidden".to_owned()));
    assert_eq!(bench.failed, [(key("a"), Failure::Refused)]);
    assert_eq!(bench.call(), None);
    let wake = bench.writer.wake(bench.now).unwrap();
    assert!(wake >= bench.now + REFUSED / 2, "{:?}", wake - bench.now);
    bench.now = wake;
    let call = bench.call().unwrap();
    bench.answer(&call, Answer::Refused("forbidden".to_owned()));
    assert_eq!(bench.failed.len(), 1, "once is enough");
    bench.wish("a", present(at(3), Ready::starting()));
    assert!(bench.call().is_some());
}

#[test]
fn what_an_api_server_keeps_otherwise_is_not_written_again_and_again() {
    let mut bench = Bench::new();
    bench.wish("a", present(at(2), Ready::starting()));
    let call = bench.call().unwrap();
    bench.carry_out(&call);
    let object = bench.objects.get_mut(&key("a")).unwrap();
    object["metadata"]["labels"]["app"] = json!("of a webhook");
    let stored = bench.carry_out(&Call {
        kind: Kind::Read,
        ..call.clone()
    });
    bench.events.clear();
    bench.answer(&call, stored);
    assert_eq!(bench.failed, [(key("a"), Failure::Refused)]);
    assert_eq!(bench.call(), None);
}

#[test]
fn a_workload_that_nobody_wishes_anything_of_is_left_alone() {
    let mut bench = Bench::new();
    bench.wish("a", present(at(2), healthy()));
    bench.writer.wish(
        Wish {
            key: key("a"),
            desired: None,
        },
        bench.now,
    );
    bench.settle();
    assert_eq!(bench.writes, 0);
}

#[test]
fn how_long_readiness_takes_is_counted_from_the_wish() {
    let mut bench = Bench::new();
    bench.wish("a", present(at(2), Ready::starting()));
    bench.settle();
    bench.now += 5 * SECOND;
    assert!(bench.writer.transitions().is_empty());
    bench.wish("a", present(at(2), healthy()));
    let call = bench.call().unwrap();
    bench.now += SECOND / 10;
    let answer = bench.carry_out(&call);
    bench.answer(&call, answer);
    let expected: Vec<Duration> = vec![SECOND / 10];
    assert_eq!(bench.writer.transitions(), expected);
}

#[test]
fn an_api_server_that_was_put_back_to_a_copy_of_its_past_is_believed() {
    let mut bench = Bench::new();
    bench.wish("a", present(at(2), healthy()));
    bench.settle();
    let copy = (bench.objects.clone(), bench.revision);
    bench.wish("a", present(at(3), healthy()));
    bench.settle();
    assert!(!bench.writer.is_astray());
    (bench.objects, bench.revision) = copy;
    let last = present(at(4), healthy());
    bench.wish("a", last.clone());
    bench.settle();
    assert!(bench.is_so("a", &last));
    assert!(bench.writer.is_astray(), "the others are to be looked at");
    assert!(!bench.writer.is_astray());
}
