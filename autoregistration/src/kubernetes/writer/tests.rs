//! The writer against an API server that is made up: it forgets, lags, refuses and fails as it likes.

use kube::runtime::watcher::Event;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::step::Write;
use super::super::workload::tests::spec;
use super::super::workload::{self, with_ready, with_spec};
use super::answers::REFUSED;
use super::*;
use crate::store::{Ready, Spec, Stored};

const SECOND: Duration = Duration::from_secs(1);

fn key(name: &str) -> Key {
    ("training".to_owned(), name.to_owned())
}

fn ready(status: Status, reason: &str) -> Ready {
    Ready {
        status,
        reason: reason.to_owned(),
        message: String::new(),
    }
}

fn healthy() -> Ready {
    ready(Status::True, "ProbeSucceeded")
}

fn failed() -> Ready {
    ready(Status::False, "ProbeFailed")
}

fn at(last: u8) -> Spec {
    Spec {
        ips: vec![[10, 77, 0, last].into()],
        ..spec()
    }
}

fn present(spec: Spec, ready: Ready) -> Desired {
    Desired::Present {
        spec: std::sync::Arc::new(spec),
        ready,
    }
}

fn gone() -> Desired {
    Desired::Gone {
        uid: None,
        ready: ready(Status::False, "Removed"),
    }
}

/// A writer at a time of its own, and an API server.
struct Bench {
    writer: Writer,
    now: Instant,
    objects: BTreeMap<Key, Value>,
    revision: u64,
    writes: usize,
    /// What the watch has not told yet.
    events: Vec<Event<kube::api::DynamicObject>>,
    there: BTreeMap<Key, Stored>,
    failed: Vec<(Key, Failure)>,
    contested: Vec<Key>,
}

impl Bench {
    fn new() -> Self {
        let now = Instant::now();
        let mut bench = Self {
            writer: Writer::new(&Scope::everywhere(), 1000, now),
            now,
            objects: BTreeMap::new(),
            revision: 10,
            writes: 0,
            events: Vec::new(),
            there: BTreeMap::new(),
            failed: Vec::new(),
            contested: Vec::new(),
        };
        bench.writer.watched(&Part::All, Event::Init, now);
        assert!(bench.writer.watched(&Part::All, Event::InitDone, now));
        bench
    }

    fn wish(&mut self, name: &str, desired: Desired) {
        let wish = Wish {
            key: key(name),
            desired: Some(desired),
        };
        self.writer.wish(wish, self.now);
    }

    /// The next call, which has no answer yet.
    fn call(&mut self) -> Option<Call> {
        self.writer.tick(self.now);
        self.writer.next(self.now)
    }

    fn answer(&mut self, call: &Call, answer: Answer) {
        self.writer
            .answered(&call.key, &call.kind, answer, self.now);
        while let Some(news) = self.writer.news() {
            match news {
                News::All(all) => self.there = all,
                News::One(key, stored) => drop(self.there.insert(key, *stored)),
                News::Gone(key) => drop(self.there.remove(&key)),
                News::Contested(key) => self.contested.push(key),
                News::Failed { key, failure, .. } => self.failed.push((key, failure)),
            }
        }
    }

    /// What the API server does and answers.
    fn carry_out(&mut self, call: &Call) -> Answer {
        let there = self.objects.get(&call.key).cloned();
        let field = |field: &str| there.as_ref().map(|it| it["metadata"][field].clone());
        let is_it = |version: &Version| {
            field("uid") == Some(json!(version.uid))
                && field("resourceVersion") == Some(json!(version.resource_version))
        };
        let read = |value: &Value| {
            let object = serde_json::from_value(value.clone()).unwrap();
            Answer::There(Box::new(workload::read(object).1))
        };
        let mut written = match &call.kind {
            Kind::Read => return there.as_ref().map_or(Answer::Gone, read),
            Kind::Write(Write::Create(_)) if there.is_some() => return Answer::Conflict,
            Kind::Write(Write::Create(spec)) => {
                let mut made = with_spec(&call.key, spec, None);
                made["metadata"]["uid"] = json!(format!("uid-{}", self.revision));
                made
            }
            Kind::Write(
                Write::Apply(version, _) | Write::Mark(version, _) | Write::Delete(version),
            ) if !is_it(version) => {
                return if there.is_some() {
                    Answer::Conflict
                } else {
                    Answer::Gone
                };
            }
            Kind::Write(Write::Apply(version, spec)) => {
                let mut made = with_spec(&call.key, spec, Some(version));
                if let Some(status) = there.as_ref().and_then(|it| it.get("status")) {
                    made["status"] = status.clone();
                }
                made
            }
            Kind::Write(Write::Mark(version, ready)) => {
                let status = with_ready(&call.key, ready, "2026-01-01T00:00:00Z", version);
                let mut made = there.unwrap();
                made["status"] = status["status"].clone();
                made
            }
            Kind::Write(Write::Delete(_)) => {
                let mut object = self.objects.remove(&call.key).unwrap();
                self.writes += 1;
                self.revision += 1;
                object["metadata"]["resourceVersion"] = json!(self.revision.to_string());
                self.events
                    .push(Event::Delete(serde_json::from_value(object).unwrap()));
                return Answer::Gone;
            }
        };
        self.writes += 1;
        self.revision += 1;
        written["metadata"]["resourceVersion"] = json!(self.revision.to_string());
        self.events.push(Event::Apply(
            serde_json::from_value(written.clone()).unwrap(),
        ));
        let answer = read(&written);
        self.objects.insert(call.key.clone(), written);
        answer
    }

    fn hear(&mut self) {
        for event in std::mem::take(&mut self.events) {
            self.writer.watched(&Part::All, event, self.now);
        }
    }

    fn list_slices(&mut self) {
        for namespace in self.writer.ask(self.now) {
            self.writer
                .listed(&namespace, Some(&BTreeSet::new()), self.now);
        }
    }

    /// Lets everything come to its end.
    fn settle(&mut self) {
        for _ in 0..1000 {
            self.list_slices();
            while let Some(call) = self.call() {
                let answer = self.carry_out(&call);
                self.answer(&call, answer);
            }
            self.hear();
            match self.writer.wake(self.now) {
                Some(wake) => self.now = wake.max(self.now),
                None => return,
            }
        }
        panic!("there is no end: {:?}", self.writer);
    }

    fn stored(&self, name: &str) -> Option<Stored> {
        let object = self.objects.get(&key(name))?.clone();
        let object = serde_json::from_value(object).unwrap();
        Some(workload::read(object).1.stored)
    }

    fn is_so(&self, name: &str, desired: &Desired) -> bool {
        match (desired, self.stored(name)) {
            (Desired::Present { spec, ready }, Some(it)) => {
                it.holds(spec) && it.readiness().same(ready)
            }
            (Desired::Gone { .. }, None) => true,
            _ => false,
        }
    }
}

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

#[derive(Clone, Debug)]
enum Happening {
    Wish(u8, Desired),
    Call(u8),
    Hear,
    Delete(u8),
    Edit(u8),
    Relist,
    Pass(u16),
}

/// Of those that serve one in four may be out at a time, or one.
fn rolls_out_group_by_group(workloads: usize) {
    let named = |number: usize| format!("w{number}");
    let opaque = |name: &str| Spec {
        annotations: [("config.linkerd.io/opaque-ports".to_owned(), "80".to_owned())].into(),
        server_name: name.to_owned(),
        ..at(1)
    };
    let plain = |name: &str| Spec {
        server_name: name.to_owned(),
        ..at(1)
    };
    let mut bench = Bench::new();
    for name in (0..workloads).map(named) {
        bench.wish(&name, present(plain(&name), healthy()));
    }
    bench.settle();
    for name in (0..workloads).map(named) {
        bench.wish(&name, present(opaque(&name), healthy()));
    }
    let most = (workloads / 4).max(1);
    let mut worst = 0;
    for _ in 0..100 * workloads {
        bench.list_slices();
        while let Some(call) = bench.call() {
            let answer = bench.carry_out(&call);
            bench.answer(&call, answer);
            let serves = |name: &String| {
                let stored = bench.stored(name).unwrap();
                stored.readiness().status == Status::True
            };
            let out = workloads - (0..workloads).map(named).filter(serves).count();
            worst = worst.max(out);
            assert!(out <= most, "{out} of {workloads} are out");
        }
        bench.hear();
        let Some(wake) = bench.writer.wake(bench.now) else {
            break;
        };
        bench.now = wake.max(bench.now);
    }
    assert_eq!(worst, most, "no slower than it has to be");
    for name in (0..workloads).map(named) {
        let wanted = present(opaque(&name), healthy());
        assert!(bench.is_so(&name, &wanted), "{name}: {:?}", bench.writer);
    }
}

#[test]
fn a_small_group_is_changed_one_after_the_other() {
    rolls_out_group_by_group(1);
    rolls_out_group_by_group(3);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn a_change_of_a_group_leaves_three_in_four_where_they_are(workloads in 1_usize..40) {
        rolls_out_group_by_group(workloads);
    }
}

fn happenings() -> impl Strategy<Value = Happening> {
    let wish = prop_oneof![
        4 => (1_u8..4, any::<bool>()).prop_map(|(last, good)| {
            present(at(last), if good { healthy() } else { failed() })
        }),
        1 => Just(gone()),
    ];
    prop_oneof![
        3 => (0_u8..3, wish).prop_map(|(who, wish)| Happening::Wish(who, wish)),
        6 => (0_u8..8).prop_map(Happening::Call),
        2 => Just(Happening::Hear),
        1 => (0_u8..3).prop_map(Happening::Delete),
        1 => (0_u8..3).prop_map(Happening::Edit),
        1 => Just(Happening::Relist),
        2 => (0_u16..3000).prop_map(Happening::Pass),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_the_last_wishes_come_true_and_then_it_is_quiet(
        all in prop::collection::vec(happenings(), 0..60),
    ) {
        let mut bench = Bench::new();
        let mut last = BTreeMap::new();
        for happening in all {
            bench.list_slices();
            match happening {
                Happening::Wish(who, desired) => {
                    bench.wish(&who.to_string(), desired.clone());
                    last.insert(who, desired);
                }
                Happening::Call(how) => if let Some(call) = bench.call() {
                    let answer = match how {
                        0 => Answer::Unavailable("away".to_owned(), None),
                        1 => Answer::Failed("a fault".to_owned()),
                        2 => {
                            // It is done, and the answer is lost.
                            bench.carry_out(&call);
                            Answer::Unavailable("cut off".to_owned(), None)
                        }
                        3 => Answer::Refused("no".to_owned()),
                        _ => bench.carry_out(&call),
                    };
                    bench.answer(&call, answer);
                },
                Happening::Hear => bench.hear(),
                Happening::Delete(who) => if let Some(mut object) = bench.objects.remove(&key(&who.to_string())) {
                    bench.revision += 1;
                    object["metadata"]["resourceVersion"] = json!(bench.revision.to_string());
                    bench.events.push(Event::Delete(serde_json::from_value(object).unwrap()));
                },
                Happening::Edit(who) => {
                    bench.revision += 1;
                    let revision = json!(bench.revision.to_string());
                    if let Some(object) = bench.objects.get_mut(&key(&who.to_string())) {
                        object["spec"]["workloadIPs"] = json!([{ "ip": "10.66.6.6" }]);
                        object["metadata"]["resourceVersion"] = revision;
                        let object = object.clone();
                        bench.events.push(Event::Apply(serde_json::from_value(object).unwrap()));
                    }
                }
                Happening::Relist => {
                    bench.events.clear();
                    bench.writer.watched(&Part::All, Event::Init, bench.now);
                    for object in bench.objects.clone().into_values() {
                        let object = serde_json::from_value(object).unwrap();
                        bench.writer.watched(&Part::All, Event::InitApply(object), bench.now);
                    }
                    bench.writer.watched(&Part::All, Event::InitDone, bench.now);
                }
                Happening::Pass(milliseconds) => bench.now += Duration::from_millis(milliseconds.into()),
            }
        }
        bench.settle();
        for (who, desired) in &last {
            prop_assert!(bench.is_so(&who.to_string(), desired), "{who} {desired:?} {:?}", bench.objects);
        }
        let writes = bench.writes;
        for (who, desired) in last {
            bench.wish(&who.to_string(), desired);
        }
        bench.settle();
        prop_assert_eq!(bench.writes, writes);
    }
}

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
