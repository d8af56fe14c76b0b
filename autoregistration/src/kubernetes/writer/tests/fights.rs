//! Somebody else changes what we have written.

use kube::runtime::watcher::Event;

use super::*;
use crate::kubernetes::step::Write;

/// Somebody else changes a label of ours.
fn undo(bench: &mut Bench) {
    bench.revision += 1;
    let object = bench.objects.get_mut(&key("a")).unwrap();
    object["metadata"]["resourceVersion"] = json!(bench.revision.to_string());
    object["metadata"]["labels"]["app"] = json!("other");
    let object = serde_json::from_value(object.clone()).unwrap();
    bench.events.push(Event::Apply(object));
    bench.hear();
}

#[test]
fn what_somebody_else_undoes_each_time_is_put_back_ever_more_rarely() {
    let mut bench = Bench::new();
    let well = present(at(2), healthy());
    bench.wish("a", well.clone());
    bench.settle();
    let (start, before) = (bench.now, bench.writes);
    while bench.now < start + 60 * SECOND {
        undo(&mut bench);
        bench.settle();
        assert!(bench.is_so("a", &well));
    }
    assert_eq!(bench.writes - before, 11);
    assert_eq!(bench.contested, [key("a")], "it is said once");

    // What its VM says is not held up by that.
    undo(&mut bench);
    let now = bench.now;
    bench.wish("a", present(at(2), failed()));
    let call = bench.call().unwrap();
    assert!(matches!(call.kind, Kind::Write(Write::Mark(..))));
    assert_eq!(bench.now, now);
}

/// Another controller is often quicker than the answer to what it undoes.
#[test]
fn what_is_undone_before_its_answer_is_here_is_put_back_ever_more_rarely_too() {
    let mut bench = Bench::new();
    let well = present(at(2), healthy());
    bench.wish("a", well.clone());
    bench.settle();
    let (start, before) = (bench.now, bench.writes);
    undo(&mut bench);
    while bench.now < start + 60 * SECOND {
        bench.list_slices();
        let Some(call) = bench.call() else {
            bench.now += SECOND / 10;
            continue;
        };
        let is_applied = matches!(call.kind, Kind::Write(Write::Apply(..)));
        let answer = bench.carry_out(&call);
        if is_applied {
            undo(&mut bench);
        }
        bench.answer(&call, answer);
    }
    let written = bench.writes - before;
    assert!((6..=12).contains(&written), "{written}");
    assert_eq!(bench.contested, [key("a")], "it is said once");
    assert_eq!(bench.failed, [], "nothing was refused");
    bench.settle();
    assert!(bench.is_so("a", &well));
}
