use serde_json::json;

use super::*;

fn object(name: &str, uid: &str, port: i64) -> DynamicObject {
    serde_json::from_value(json!({
        "apiVersion": "workload.buoyant.io/v1alpha1", "kind": "ExternalGroup",
        "metadata": { "namespace": "n", "name": name, "uid": uid, "generation": port },
        "spec": { "template": { "ports": [{ "port": port }] } },
    }))
    .unwrap()
}

fn ports(known: &Known) -> Vec<(String, u16)> {
    let groups = known.manifests().groups;
    let ports = groups
        .into_values()
        .map(|group| (group.name, group.ports[0].1));
    ports.collect()
}

#[test]
fn a_list_counts_when_it_is_complete() {
    let mut known = Known::default();
    assert!(!known.take(Event::Init));
    assert!(!known.take(Event::InitApply(object("a", "1", 80))));
    assert_eq!(ports(&known), []);
    assert!(known.take(Event::InitDone));
    assert!(known.take(Event::Apply(object("b", "2", 81))));
    // The next one has lost its connection half-way, and begins again.
    known.take(Event::Init);
    known.take(Event::InitApply(object("c", "3", 82)));
    assert_eq!(ports(&known), [("a".to_owned(), 80), ("b".to_owned(), 81)]);
    known.take(Event::Init);
    known.take(Event::InitApply(object("b", "2", 81)));
    known.take(Event::InitDone);
    assert_eq!(ports(&known), [("b".to_owned(), 81)]);
    known.take(Event::Delete(object("b", "2", 81)));
    assert_eq!(ports(&known), []);
}

#[test]
fn what_cannot_be_taken_is_said_disturbs_nobody_and_keeps_the_last_that_could() {
    let mut known = Known::default();
    known.take(Event::Apply(object("a", "1", 80)));
    known.take(Event::Apply(object("b", "2", 81)));
    known.take(Event::Apply(object("a", "1", 0)));
    known.take(Event::Apply(object("c", "3", -1)));
    assert_eq!(ports(&known), [("a".to_owned(), 80), ("b".to_owned(), 81)]);
    let refused = known.refused();
    let names = refused
        .iter()
        .map(|((_, name), refused)| (name.as_str(), refused.kept));
    assert_eq!(names.collect::<Vec<_>>(), [("a", true), ("c", false)]);
    let problem = &refused[&("n".to_owned(), "a".to_owned())].problems[0];
    assert_eq!(problem.field, "spec.template.ports[0].port");

    // Still so after a new list, mended by an edit.
    known.take(Event::Init);
    known.take(Event::InitApply(object("a", "1", 0)));
    known.take(Event::InitDone);
    assert_eq!(ports(&known), [("a".to_owned(), 80)]);
    known.take(Event::Apply(object("a", "1", 82)));
    assert_eq!(ports(&known), [("a".to_owned(), 82)]);
    assert!(known.refused().is_empty());
}

#[test]
fn another_object_of_the_same_name_gets_nothing_of_the_old_one() {
    let mut known = Known::default();
    known.take(Event::Apply(object("a", "1", 80)));
    known.take(Event::Apply(object("a", "2", 0)));
    assert_eq!(ports(&known), []);
    assert!(!known.refused().values().next().unwrap().kept);
}
