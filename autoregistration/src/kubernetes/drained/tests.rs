use serde_json::json;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn key(name: &str) -> Key {
    ("training".to_owned(), name.to_owned())
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn a_workload_is_drained_a_second_after_it_has_left_the_slices() {
    let (mut drains, start) = (Drains::default(), Instant::now());
    assert_eq!(drains.wake(start), None);
    drains.wait(&key("a"), start);
    assert_eq!(drains.wake(start), Some(start));
    assert_eq!(drains.ask(start), ["training"]);
    assert_eq!(drains.ask(start), [""; 0], "one question at a time");
    drains.answered("training", Some(&names(&["a", "b"])), start);
    assert_eq!(drains.wake(start), Some(start + SECOND));
    assert_eq!(drains.ask(start + SECOND / 2), [""; 0], "once a second");
    let second = start + SECOND;
    assert_eq!(drains.ask(second), ["training"]);
    drains.answered("training", Some(&names(&["b"])), second);
    assert!(!drains.is_drained(&key("a"), second));
    assert_eq!(drains.wake(second), Some(second + SECOND));
    let third = second + SECOND;
    assert!(drains.is_drained(&key("a"), third));
    assert_eq!(drains.drained(third), [key("a")]);
    assert_eq!(drains.ask(third), [""; 0], "nobody needs an answer");
    assert_eq!(drains.wake(third), None);
    drains.forget(&key("a"));
    assert!(!drains.is_drained(&key("a"), third));
}

#[test]
fn an_answer_to_an_older_question_does_not_count() {
    let (mut drains, start) = (Drains::default(), Instant::now());
    drains.wait(&key("a"), start);
    assert_eq!(drains.ask(start), ["training"]);
    let later = start + SECOND / 10;
    drains.wait(&key("b"), later);
    drains.answered("training", Some(&names(&[])), later);
    let soon = later + SECOND;
    assert_eq!(drains.drained(soon), [key("a")]);
    assert_eq!(drains.ask(soon), ["training"]);
    drains.answered("training", Some(&names(&[])), soon);
    assert_eq!(
        drains.drained(soon + SECOND),
        [key("b")],
        "each is told once"
    );
}

#[test]
fn patience_ends_whatever_the_slices_say_or_nobody_says_anything() {
    let (mut drains, start) = (Drains::default(), Instant::now());
    drains.wait(&key("a"), start);
    drains.wait(&("silent".to_owned(), "b".to_owned()), start);
    let mut now = start;
    let end = start + PATIENCE + ON_ITS_WAY;
    while now < end {
        assert_eq!(drains.drained(now), []);
        for namespace in drains.ask(now) {
            let still = names(&["a"]);
            let answer = (namespace == "training").then_some(&still);
            drains.answered(&namespace, answer, now);
        }
        let wake = drains.wake(now).unwrap();
        assert!(wake > now && wake <= now + SECOND);
        now = wake;
    }
    assert_eq!(drains.drained(end).len(), 2);
}

#[test]
fn only_ready_endpoints_of_workloads_count() {
    let slice = |endpoints| -> EndpointSlice {
        let slice = json!({ "metadata": {}, "addressType": "IPv4", "endpoints": endpoints });
        serde_json::from_value(slice).unwrap()
    };
    let endpoint = |kind: &str, name: &str, conditions: serde_json::Value| json!({ "addresses": [], "targetRef": { "kind": kind, "name": name }, "conditions": conditions });
    let slices = [
        slice(json!([
            endpoint("ExternalWorkload", "ready", json!({ "ready": true })),
            endpoint("ExternalWorkload", "out", json!({ "ready": false })),
            endpoint("Pod", "pod", json!({ "ready": true })),
        ])),
        slice(json!([
            endpoint("ExternalWorkload", "unsaid", json!({})),
            { "addresses": ["10.0.0.1"] },
        ])),
    ];
    assert_eq!(ready(&slices), names(&["ready", "unsaid"]));
}
