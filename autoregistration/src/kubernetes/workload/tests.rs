use proptest::prelude::*;

use super::*;

pub(in crate::kubernetes) fn key() -> Key {
    ("training".to_owned(), "training-vm-0123456789".to_owned())
}

pub(in crate::kubernetes) fn spec() -> Spec {
    Spec {
        group: "training-vm".to_owned(),
        group_uid: "8ad0a7e8-3c2b-4f0f-8a3a-000000000001".to_owned(),
        fingerprint: "ab".repeat(32),
        hostname: "vm-1".to_owned(),
        labels: [("app".to_owned(), "training-app".to_owned())].into(),
        annotations: [].into(),
        ports: vec![("http".to_owned(), 80), (String::new(), 81)],
        proxy_inbound_port: PROXY_INBOUND_PORT,
        ips: vec!["10.77.0.2".parse().unwrap()],
        identity: "spiffe://root.linkerd.cluster.local/vm-1".to_owned(),
        server_name: "training-vm-0123456789.training.external.identity.linkerd.cluster.local"
            .to_owned(),
    }
}

/// As the API server would hold it.
pub(in crate::kubernetes) fn object(value: Value) -> Object {
    read(serde_json::from_value(value).unwrap()).1
}

pub(in crate::kubernetes) fn version() -> Version {
    Version {
        uid: "uid-1".to_owned(),
        resource_version: "7".to_owned(),
    }
}

fn made_of(spec: &Spec) -> Value {
    with_spec(&key(), spec, Some(&version()))
}

#[test]
fn what_is_applied_has_exactly_these_fields() {
    let mut spec = spec();
    spec.proxy_inbound_port = 4244;
    let expected = json!({
        "apiVersion": "workload.linkerd.io/v1beta1",
        "kind": "ExternalWorkload",
        "metadata": {
            "namespace": "training",
            "name": "training-vm-0123456789",
            "labels": { "app": "training-app", "meshexpansion.io/group": "training-vm" },
            "annotations": {
                "meshexpansion.io/applied": spec.hash(),
                "meshexpansion.io/hostname": "vm-1",
                "meshexpansion.io/instance": "ab".repeat(32),
            },
            "ownerReferences": [{
                "apiVersion": "workload.buoyant.io/v1alpha1",
                "kind": "ExternalGroup",
                "name": "training-vm",
                "uid": "8ad0a7e8-3c2b-4f0f-8a3a-000000000001",
                "controller": true,
                "blockOwnerDeletion": false,
            }],
        },
        "spec": {
            "meshTLS": { "identity": spec.identity, "serverName": spec.server_name },
            "ports": [
                { "name": "http", "port": 80, "protocol": "TCP" },
                { "port": 81, "protocol": "TCP" },
                { "name": "linkerd-proxy", "port": 4244, "protocol": "TCP" },
            ],
            "workloadIPs": [{ "ip": "10.77.0.2" }],
        },
    });
    assert_eq!(with_spec(&key(), &spec, None), expected);
}

#[test]
fn a_status_has_one_condition_a_short_message_and_names_its_object() {
    let ready = Ready {
        status: Status::False,
        reason: "ProbeFailed".to_owned(),
        message: "é".repeat(300),
    };
    let applied = with_ready(&key(), &ready, "2026-01-01T00:00:00Z", &version());
    let expected = json!({
        "apiVersion": "workload.linkerd.io/v1beta1",
        "kind": "ExternalWorkload",
        "metadata": {
            "namespace": "training",
            "name": "training-vm-0123456789",
            "uid": "uid-1",
            "resourceVersion": "7",
        },
        "status": { "conditions": [{
            "type": "Ready",
            "status": "False",
            "reason": "ProbeFailed",
            "message": "é".repeat(256),
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }] },
    });
    assert_eq!(applied, expected);
}

#[test]
fn a_hostname_that_is_not_known_is_not_written() {
    let spec = Spec {
        hostname: String::new(),
        ..spec()
    };
    assert_eq!(
        made_of(&spec).pointer("/metadata/annotations/meshexpansion.io~1hostname"),
        None
    );
    assert!(object(made_of(&spec)).stored.holds(&spec));
}

#[test]
fn a_foreign_object_is_read_as_far_as_it_can_be() {
    let odd = object(json!({
        "apiVersion": "workload.linkerd.io/v1beta1",
        "kind": "ExternalWorkload",
        "metadata": { "name": "a", "labels": { "app": "x" } },
        "spec": {
            "meshTLS": 5,
            "ports": [{ "port": 80 }, { "port": 99_999 }, { "port": 53, "protocol": "UDP" }, 7],
            "workloadIPs": [{ "ip": "10.0.0.1" }, { "ip": "nonsense" }, {}],
        },
        "status": { "conditions": [
            { "type": "Ready", "status": "False" },
            { "type": "Other", "status": "True" },
            { "type": "Ready", "status": "True", "reason": "Twice" },
        ] },
    }));
    assert!(!odd.stored.ours);
    assert_eq!(odd.stored.spec.ports, [(String::new(), 80)]);
    assert_eq!(odd.stored.spec.ips, ["10.0.0.1".parse::<IpAddr>().unwrap()]);
    // Linkerd sends traffic to it.
    assert_eq!(odd.stored.readiness().status, Status::True);
    let empty = object(
        json!({ "apiVersion": "x/y", "kind": "z", "metadata": {}, "spec": [], "status": 1 }),
    );
    assert_eq!(empty.stored.ready, None);
}

#[test]
fn what_a_person_adds_is_theirs_and_what_a_person_changes_is_noticed() {
    let spec = spec();
    let edited = |path: &str, value: Value| {
        let mut made = made_of(&spec);
        let (parent, field) = path.rsplit_once('/').unwrap();
        let parent = made.pointer_mut(parent).unwrap().as_object_mut().unwrap();
        parent.insert(field.replace("~1", "/"), value);
        object(made).stored.holds(&spec)
    };
    assert!(edited("/metadata/labels/team", json!("a")));
    assert!(edited("/metadata/annotations/note", json!("a")));
    assert!(!edited("/metadata/labels/app", json!("other")));
    assert!(!edited(
        "/metadata/labels/meshexpansion.io~1group",
        json!("other")
    ));
    assert!(!edited(
        "/metadata/annotations/meshexpansion.io~1applied",
        json!("")
    ));
    assert!(!edited(
        "/metadata/annotations/meshexpansion.io~1instance",
        json!("cd")
    ));
    assert!(!edited(
        "/metadata/annotations/meshexpansion.io~1hostname",
        json!("x")
    ));
    assert!(!edited("/metadata/ownerReferences", json!([])));
    assert!(!edited("/spec/workloadIPs", json!([{ "ip": "10.0.0.9" }])));
    assert!(!edited(
        "/spec/workloadIPs",
        json!([{ "ip": "10.77.0.2" }, { "ip": "x" }])
    ));
    assert!(!edited(
        "/spec/ports",
        json!([{ "name": "http", "port": 80 }])
    ));
    let with_udp =
        json!([{ "name": "http", "port": 80 }, { "port": 81 }, { "port": 53, "protocol": "UDP" }]);
    assert!(!edited("/spec/ports", with_udp));
    let with_inbound = json!([{ "name": "http", "port": 80 }, { "port": 81 }, { "name": "linkerd-proxy", "port": 4143 }]);
    assert!(!edited("/spec/ports", with_inbound));
    assert!(!edited(
        "/spec/meshTLS",
        json!({ "identity": "spiffe://x/y", "serverName": spec.server_name })
    ));
}

prop_compose! {
    pub(in crate::kubernetes) fn specs()(
        group in "[a-z]{1,8}",
        group_uid in "[0-9a-f]{8}",
        fingerprint in "[0-9a-f]{64}",
        hostname in "[a-z]{0,4}",
        labels in prop::collection::btree_map("[a-z]{1,3}", "[a-z]{0,3}", 0..3),
        annotations in prop::collection::btree_map("(note|config.linkerd.io/opaque-ports)", "[0-9]{1,3}", 0..2),
        ports in prop::collection::vec(("[a-z]{0,3}", 1_u16..), 0..3),
        proxy_inbound_port in prop_oneof![Just(PROXY_INBOUND_PORT), 1_u16..],
        ips in prop::collection::vec(any::<IpAddr>(), 0..3),
        id in "[a-z]{1,3}",
    ) -> Spec {
        Spec {
            group, group_uid, fingerprint, hostname, labels, annotations, ports, proxy_inbound_port, ips,
            identity: format!("spiffe://root/{id}"),
            server_name: format!("{id}.external"),
        }
    }
}

proptest! {
    #[test]
    fn what_is_applied_is_read_back_as_it_was_wanted(spec in specs(), other in specs()) {
        let stored = object(made_of(&spec)).stored;
        prop_assert!(stored.ours);
        prop_assert_eq!(&stored.spec, &spec);
        prop_assert!(stored.holds(&spec));
        prop_assert_eq!(stored.holds(&other), spec == other);
    }

    #[test]
    fn no_object_is_too_odd_to_be_read(text in "[\\[\\]{}:,\"a-z0-9]{0,40}") {
        let data = serde_json::from_str(&text).unwrap_or(Value::String(text));
        for field in ["spec", "status", "spec/ports", "spec/workloadIPs", "status/conditions"] {
            let mut value = json!({ "apiVersion": "a/b", "kind": "c", "metadata": {} });
            let (parent, child) = field.split_once('/').unwrap_or((field, ""));
            value[parent] = if child.is_empty() { data.clone() } else { json!({ child: data }) };
            let _read = object(value);
        }
    }
}

#[test]
fn one_whose_label_was_taken_away_is_still_ours_and_what_only_looks_like_it_is_not() {
    let named = ("training".to_owned(), "training-vm-ababababab".to_owned());
    let mut made = with_spec(&named, &spec(), Some(&version()));
    let labels = made["metadata"]["labels"].as_object_mut().unwrap();
    labels.remove(GROUP).unwrap();
    let stored = object(made.clone()).stored;
    assert!(stored.ours);
    assert_eq!(stored.spec, spec());
    assert!(!stored.holds(&spec()), "the label is put back");
    let edits: [fn(&mut Value); 4] = [
        |made| made["metadata"]["name"] = json!("training-vm-0123456789"),
        |made| made["metadata"]["ownerReferences"][0]["name"] = json!("other"),
        |made| made["metadata"]["ownerReferences"] = json!([]),
        |made| made["metadata"]["annotations"][INSTANCE] = json!("cd".repeat(32)),
    ];
    for edit in edits {
        let mut made = made.clone();
        edit(&mut made);
        assert!(!object(made.clone()).stored.ours, "{made}");
    }
}
