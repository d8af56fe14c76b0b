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
fn the_edition_rises_with_each_edit_and_when_a_group_is_made_again() {
    let edition = |uid: &str, created: &str, generation: i64| {
        let mut object = object("a", uid, 80);
        object.metadata.generation = Some(generation);
        let time = json!(created);
        object.metadata.creation_timestamp = Some(serde_json::from_value(time).unwrap());
        let mut known = Known::default();
        known.take(&Part::All, Event::Apply(object));
        let group = known.manifests().groups.into_values().next().unwrap();
        assert_eq!(group.generation, generation);
        group.edition
    };
    let editions = [
        edition("1", "2026-01-01T00:00:00Z", 1),
        edition("1", "2026-01-01T00:00:00Z", 2),
        edition("1", "2026-01-01T00:00:00Z", 1 << 23),
        edition("2", "2026-01-01T00:00:01Z", 1),
        edition("3", "2036-01-01T00:00:00Z", 1),
    ];
    assert!(editions.is_sorted_by(|a, b| a < b), "{editions:?}");
}

#[test]
fn a_list_counts_when_it_is_complete() {
    let mut known = Known::default();
    assert!(!known.take(&Part::All, Event::Init));
    assert!(!known.take(&Part::All, Event::InitApply(object("a", "1", 80))));
    assert_eq!(ports(&known), []);
    assert!(known.take(&Part::All, Event::InitDone));
    assert!(known.take(&Part::All, Event::Apply(object("b", "2", 81))));
    // The next one has lost its connection half-way, and begins again.
    known.take(&Part::All, Event::Init);
    known.take(&Part::All, Event::InitApply(object("c", "3", 82)));
    assert_eq!(ports(&known), [("a".to_owned(), 80), ("b".to_owned(), 81)]);
    known.take(&Part::All, Event::Init);
    known.take(&Part::All, Event::InitApply(object("b", "2", 81)));
    known.take(&Part::All, Event::InitDone);
    assert_eq!(ports(&known), [("b".to_owned(), 81)]);
    known.take(&Part::All, Event::Delete(object("b", "2", 81)));
    assert_eq!(ports(&known), []);
}

#[test]
fn what_cannot_be_taken_is_said_disturbs_nobody_and_keeps_the_last_that_could() {
    let mut known = Known::default();
    known.take(&Part::All, Event::Apply(object("a", "1", 80)));
    known.take(&Part::All, Event::Apply(object("b", "2", 81)));
    known.take(&Part::All, Event::Apply(object("a", "1", 0)));
    known.take(&Part::All, Event::Apply(object("c", "3", -1)));
    assert_eq!(ports(&known), [("a".to_owned(), 80), ("b".to_owned(), 81)]);
    let refused = known.refused();
    let names = refused
        .iter()
        .map(|((_, name), refused)| (name.as_str(), refused.kept));
    assert_eq!(names.collect::<Vec<_>>(), [("a", true), ("c", false)]);
    let problem = &refused[&("n".to_owned(), "a".to_owned())].problems[0];
    assert_eq!(problem.field, "spec.template.ports[0].port");

    // Still so after a new list, mended by an edit.
    known.take(&Part::All, Event::Init);
    known.take(&Part::All, Event::InitApply(object("a", "1", 0)));
    known.take(&Part::All, Event::InitDone);
    assert_eq!(ports(&known), [("a".to_owned(), 80)]);
    known.take(&Part::All, Event::Apply(object("a", "1", 82)));
    assert_eq!(ports(&known), [("a".to_owned(), 82)]);
    assert!(known.refused().is_empty());
}

#[test]
fn another_object_of_the_same_name_gets_nothing_of_the_old_one() {
    let mut known = Known::default();
    known.take(&Part::All, Event::Apply(object("a", "1", 80)));
    known.take(&Part::All, Event::Apply(object("a", "2", 0)));
    assert_eq!(ports(&known), []);
    assert!(!known.refused().values().next().unwrap().kept);
}

#[test]
fn of_some_namespaces_the_list_of_each_counts_for_itself() {
    let group = |namespace: &str, name: &str| {
        let mut group = object(name, name, 80);
        group.metadata.namespace = Some(namespace.to_owned());
        group
    };
    let names = |known: &Known| {
        known
            .manifests()
            .groups
            .into_keys()
            .map(|(_, name)| name)
            .collect::<Vec<_>>()
    };
    let scope = Scope::new(["n".to_owned(), "m".to_owned()]);
    let parts = scope.parts();
    let [m, n] = &parts[..] else {
        panic!("{parts:?}")
    };
    let mut known = Known::new(&scope);
    assert_eq!(known.manifests().watched, *scope.namespaces());
    known.take(n, Event::Init);
    known.take(m, Event::Init);
    known.take(n, Event::InitApply(group("n", "a")));
    known.take(m, Event::InitApply(group("m", "b")));
    assert!(
        !known.take(n, Event::InitDone),
        "that of the other one is still to come"
    );
    assert!(!known.take(n, Event::Apply(group("n", "c"))));
    // It begins again.
    known.take(m, Event::Init);
    known.take(m, Event::InitApply(group("m", "d")));
    assert!(known.take(m, Event::InitDone));
    assert_eq!(names(&known), ["d", "a", "c"]);
    known.take(n, Event::Init);
    assert!(known.take(n, Event::InitDone));
    assert_eq!(names(&known), ["d"], "those of the other one stay");
}
