use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::ObjectMeta;

use super::*;

const GOOD: &str = "{clusterDomain: a.example}";

fn object(key: &str, text: &str) -> ConfigMap {
    ConfigMap {
        data: Some([(key.to_owned(), text.to_owned())].into()),
        ..ConfigMap::default()
    }
}

fn config(text: &str) -> ConfigMap {
    object(CONFIG_KEY, text)
}

fn namespace(name: &str, pairs: &[(&str, &str)]) -> PartialObjectMeta<Namespace> {
    let owned = pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    PartialObjectMeta {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            annotations: Some(owned.collect()),
            ..ObjectMeta::default()
        },
        ..PartialObjectMeta::default()
    }
}

fn domain(known: &Known) -> Option<&str> {
    known
        .config
        .good
        .as_ref()
        .map(|v| v.cluster_domain.as_str())
}

fn names(known: &Known) -> Vec<&str> {
    let namespaces = known.namespaces.keys();
    namespaces.map(String::as_str).collect()
}

#[test]
fn settings_need_all_three_and_what_is_missing_is_named() {
    let mut known = Known::default();
    assert_eq!(known.missing("linkerd").len(), 3);
    known.take_config(Event::Apply(config(GOOD)));
    known.take_namespace(&Part::All, Event::Init);
    known.take_namespace(&Part::All, Event::InitDone);
    known.take_anchors(Event::Init);
    known.take_anchors(Event::InitDone);
    assert_eq!(known.settings("linkerd"), None);
    assert_eq!(
        known.missing("linkerd"),
        ["ConfigMap linkerd/linkerd-identity-trust-roots (is not there)"]
    );
    known.take_anchors(Event::Apply(object(ANCHORS_KEY, "x")));
    let missing = known.missing("linkerd").concat();
    assert!(
        missing.contains("data[ca-bundle.crt]: holds no certificate"),
        "{missing}"
    );
}

#[test]
fn the_last_good_state_stays_when_the_object_is_broken_or_gone() {
    let mut known = Known::default();
    known.take_config(Event::Init);
    known.take_config(Event::InitApply(config(GOOD)));
    known.take_config(Event::InitDone);
    assert_eq!(known.config.trouble(), None);
    known.take_config(Event::Apply(config("{proxy: 1}")));
    assert_eq!(domain(&known), Some("a.example"));
    let trouble = known.config.trouble().unwrap().to_string();
    assert!(trouble.starts_with("data[values].proxy: "), "{trouble}");
    known.take_config(Event::Apply(ConfigMap::default()));
    assert_eq!(
        known.config.trouble().unwrap().to_string(),
        "data[values]: is missing"
    );
    known.take_config(Event::Delete(config(GOOD)));
    assert_eq!(known.config.trouble(), Some(&Trouble::Missing));
    assert_eq!(domain(&known), Some("a.example"));
    known.take_config(Event::Apply(config("{clusterDomain: b.example}")));
    assert_eq!(
        (domain(&known), known.config.trouble()),
        (Some("b.example"), None)
    );
    // Gone while nobody watched: the list that is begun anew does not have it.
    known.take_config(Event::Init);
    known.take_config(Event::InitDone);
    assert_eq!(known.config.trouble(), Some(&Trouble::Missing));
    assert_eq!(domain(&known), Some("b.example"));
}

#[test]
fn of_a_namespace_only_linkerds_annotations_count() {
    let mut known = Known::default();
    known.take_namespace(&Part::All, Event::Init);
    for (name, pairs) in [
        (
            "a",
            &[("config.linkerd.io/proxy-log-level", "x"), ("team", "t")][..],
        ),
        ("b", &[("team", "t")]),
        ("c", &[("config.alpha.linkerd.io/x", "")]),
    ] {
        known.take_namespace(&Part::All, Event::InitApply(namespace(name, pairs)));
    }
    assert_eq!(
        names(&known),
        [""; 0],
        "a list that is not complete does not count"
    );
    known.take_namespace(&Part::All, Event::InitDone);
    assert_eq!(names(&known), ["a", "c"]);
    let before = known.namespaces.clone();
    known.take_namespace(
        &Part::All,
        Event::Apply(namespace(
            "a",
            &[("config.linkerd.io/proxy-log-level", "x"), ("team", "u")],
        )),
    );
    assert_eq!(known.namespaces, before);
    known.take_namespace(&Part::All, Event::Apply(namespace("a", &[])));
    known.take_namespace(&Part::All, Event::Delete(namespace("c", &[])));
    assert_eq!(names(&known), [""; 0]);
}

#[test]
fn of_some_namespaces_the_list_of_each_is_waited_for() {
    let mut known = Known::new(&Scope::new(["a".to_owned(), "b".to_owned()]));
    let parts = Scope::new(["a".to_owned(), "b".to_owned()]).parts();
    let log = |name: &str| namespace(name, &[("config.linkerd.io/proxy-log-level", "x")]);
    for part in &parts {
        assert!(
            known
                .missing("linkerd")
                .contains(&"the list of namespaces".to_owned())
        );
        known.take_namespace(part, Event::Init);
        known.take_namespace(part, Event::InitDone);
    }
    assert_eq!(known.missing("linkerd").len(), 2);
    known.take_namespace(&parts[0], Event::Apply(log("a")));
    known.take_namespace(&parts[1], Event::Init);
    known.take_namespace(&parts[1], Event::InitApply(log("b")));
    known.take_namespace(&parts[1], Event::InitDone);
    assert_eq!(names(&known), ["a", "b"]);
    known.take_namespace(&parts[0], Event::Init);
    known.take_namespace(&parts[0], Event::InitDone);
    assert_eq!(names(&known), ["b"], "it is gone, and the other one stays");
}
