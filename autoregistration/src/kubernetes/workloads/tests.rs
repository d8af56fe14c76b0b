use serde_json::json;

use super::super::workload::tests::{key, object, spec};
use super::super::workload::with_spec;
use super::*;

fn made(uid: &str, version: u64, ip: &str) -> DynamicObject {
    let mut spec = spec();
    spec.ips = vec![ip.parse().unwrap()];
    let mut made = with_spec(&key(), &spec, None);
    made["metadata"]["uid"] = json!(uid);
    made["metadata"]["resourceVersion"] = json!(version.to_string());
    serde_json::from_value(made).unwrap()
}

fn answer(uid: &str, version: u64, ip: &str) -> Object {
    object(serde_json::to_value(made(uid, version, ip)).unwrap())
}

fn version(workloads: &Workloads) -> Option<&str> {
    let entry = workloads.get(&key())?;
    Some(&entry.object.stored.resource_version)
}

const IP: &str = "10.77.0.2";

#[test]
fn the_newest_counts_whichever_way_it_comes() {
    let (mut workloads, now) = (Workloads::default(), Instant::now());
    workloads.answered(&key(), Some(answer("a", 5, IP)), now);
    workloads.take(&Part::All, Event::Apply(made("a", 4, IP)), now);
    assert_eq!(version(&workloads), Some("5"));
    workloads.take(&Part::All, Event::Apply(made("a", 10, IP)), now);
    workloads.answered(&key(), Some(answer("a", 9, IP)), now);
    assert_eq!(version(&workloads), Some("10"));
}

#[test]
fn what_is_gone_does_not_come_back_by_a_watch_that_lags() {
    let (mut workloads, now) = (Workloads::default(), Instant::now());
    workloads.answered(&key(), Some(answer("a", 5, IP)), now);
    workloads.answered(&key(), None, now);
    workloads.take(&Part::All, Event::Apply(made("a", 5, IP)), now);
    assert_eq!(version(&workloads), None);
    workloads.answered(&key(), Some(answer("b", 8, IP)), now);
    workloads.take(&Part::All, Event::Delete(made("a", 6, IP)), now);
    assert_eq!(version(&workloads), Some("8"), "that was the one before");
    workloads.take(&Part::All, Event::Delete(made("b", 9, IP)), now);
    assert_eq!(version(&workloads), None);
}

#[test]
fn a_list_that_is_older_than_an_answer_takes_nothing_away() {
    let (mut workloads, now) = (Workloads::default(), Instant::now());
    workloads.answered(&key(), Some(answer("a", 5, IP)), now);
    assert_eq!(
        workloads.take(&Part::All, Event::Init, now),
        Change::Nothing
    );
    assert_eq!(
        workloads.take(&Part::All, Event::InitDone, now),
        Change::All
    );
    assert_eq!(version(&workloads), None, "it is not in the list");
    workloads.take(&Part::All, Event::Init, now);
    workloads.answered(&key(), Some(answer("b", 7, IP)), now);
    workloads.take(&Part::All, Event::InitDone, now);
    assert_eq!(version(&workloads), Some("7"));
    workloads.take(&Part::All, Event::Init, now);
    workloads.take(&Part::All, Event::InitApply(made("b", 7, IP)), now);
    workloads.answered(&key(), None, now);
    workloads.take(&Part::All, Event::InitDone, now);
    assert_eq!(version(&workloads), None, "it was deleted meanwhile");
}

#[test]
fn it_is_known_since_when_a_workload_is_reached_as_it_is_and_whether_it_was_made_again() {
    let (mut workloads, start) = (Workloads::default(), Instant::now());
    let later = |seconds| start + Duration::from_secs(seconds);
    let since = |workloads: &Workloads| {
        let entry = workloads.get(&key()).unwrap();
        (entry.since, entry.again)
    };
    workloads.answered(&key(), Some(answer("a", 1, IP)), start);
    workloads.take(&Part::All, Event::Apply(made("a", 2, IP)), later(1));
    assert_eq!(since(&workloads), (start, false));
    workloads.take(
        &Part::All,
        Event::Apply(made("a", 3, "10.77.0.9")),
        later(2),
    );
    assert_eq!(since(&workloads), (later(2), false));
    workloads.take(&Part::All, Event::Delete(made("a", 4, IP)), later(3));
    workloads.answered(&key(), Some(answer("b", 5, IP)), later(4));
    assert_eq!(since(&workloads), (later(4), true));
    let mut ready = made("b", 6, IP);
    ready.data["status"] = json!({ "conditions": [{ "type": "Ready", "status": "True" }] });
    workloads.take(&Part::All, Event::Apply(ready), later(5));
    assert_eq!(since(&workloads), (later(4), false));
}

#[test]
fn of_some_namespaces_the_list_of_each_counts_for_itself() {
    let now = Instant::now();
    let scope = Scope::new(["other".to_owned(), key().0]);
    let parts = scope.parts();
    let [other, own] = &parts[..] else {
        panic!("{parts:?}")
    };
    let mut workloads = Workloads::new(&scope);
    workloads.take(own, Event::Init, now);
    workloads.take(own, Event::InitApply(made("a", 1, IP)), now);
    assert_eq!(workloads.take(own, Event::InitDone, now), Change::Nothing);
    let change = workloads.take(own, Event::Apply(made("a", 2, IP)), now);
    assert_eq!(
        change,
        Change::Nothing,
        "nothing is told before all is known"
    );
    workloads.take(other, Event::Init, now);
    assert_eq!(workloads.take(other, Event::InitDone, now), Change::All);
    assert_eq!(
        version(&workloads),
        Some("2"),
        "an empty list of another one"
    );
    workloads.take(own, Event::Init, now);
    workloads.answered(&key(), Some(answer("a", 3, IP)), now);
    workloads.take(other, Event::Init, now);
    workloads.take(other, Event::InitDone, now);
    workloads.take(own, Event::InitDone, now);
    assert_eq!(version(&workloads), Some("3"), "the list may be older");
    workloads.take(own, Event::Init, now);
    assert_eq!(workloads.take(own, Event::InitDone, now), Change::All);
    assert_eq!(version(&workloads), None);
}

#[test]
fn a_list_counts_for_all_that_was_known_before_it_began_also_where_it_is_older() {
    let (mut workloads, now) = (Workloads::default(), Instant::now());
    let list = |workloads: &mut Workloads| {
        workloads.take(&Part::All, Event::Init, now);
        workloads.take(&Part::All, Event::InitApply(made("a", 5, IP)), now);
        workloads.take(&Part::All, Event::InitDone, now);
    };
    workloads.answered(&key(), Some(answer("a", 9, "10.77.0.9")), now);
    list(&mut workloads);
    assert_eq!(version(&workloads), Some("5"));
    workloads.answered(&key(), None, now);
    list(&mut workloads);
    assert_eq!(version(&workloads), Some("5"), "it is there again");
    workloads.take(&Part::All, Event::Init, now);
    workloads.take(&Part::All, Event::InitApply(made("a", 5, IP)), now);
    workloads.answered(&key(), Some(answer("a", 6, IP)), now);
    workloads.take(&Part::All, Event::InitDone, now);
    assert_eq!(version(&workloads), Some("6"), "it was written meanwhile");
}
