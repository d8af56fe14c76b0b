//! Edits of the manifests and of the trust anchors reach living workloads.

use super::*;

#[test]
fn edits_of_the_group_reach_living_workloads_once_and_only_when_they_matter() {
    let mut bench = Bench::new(GROUP);
    let first = assignment(&bench.open(1, &VM)).clone();
    let labelled = GROUP.replace("training-app", "other-app");
    assert_eq!(
        bench.event(Event::Manifests(manifests(&labelled))),
        [],
        "labels are no part of the assignment"
    );
    let members = bench.view().members;
    assert_eq!(members.values().next().unwrap().labels["app"], "other-app");
    let edited = GROUP.replace("/ready", "/healthz");
    let effects = bench.event(Event::Manifests(manifests(&edited)));
    let second = assignment(&effects);
    assert_ne!(second.config_hash, first.config_hash);
    assert_eq!(second.probes[0].http_get.as_ref().unwrap().path, "/healthz");
    assert_eq!(bench.event(Event::Manifests(manifests(&edited))), []);
}

#[test]
fn annotations_of_the_group_change_the_proxys_settings() {
    let annotated = GROUP.replace(
        "labels: { app: training-app }",
        "annotations: { config.linkerd.io/default-inbound-policy: deny, config.linkerd.io/opaque-ports: '25, 3306' }",
    );
    let effects = Bench::new(&annotated).open(1, &VM);
    let proxy = assignment(&effects).proxy.as_ref().unwrap();
    assert_eq!(
        (
            proxy.default_inbound_policy.as_str(),
            proxy.opaque_ports.as_str()
        ),
        ("deny", "25,3306")
    );
}

#[test]
fn new_trust_anchors_reach_living_workloads() {
    let mut bench = Bench::new(GROUP);
    bench.open(1, &VM);
    let effects = bench.event(Event::Settings(settings("NEW")));
    assert_eq!(
        assignment(&effects)
            .proxy
            .as_ref()
            .unwrap()
            .trust_anchors_pem,
        "NEW"
    );
}

#[test]
fn a_removed_group_takes_its_workloads_along_and_gets_them_back() {
    let mut bench = Bench::new(GROUP);
    bench.open(1, &VM);
    bench.open(
        2,
        &Vm {
            instance: 2,
            ip: "10.77.0.3",
            can_wait: false,
            ..VM
        },
    );
    let names = bench.names();
    let effects = bench.event(Event::Manifests(manifests("")));
    assert_eq!(ended(&effects, 2), Some(Reason::GroupNotFound));
    assert_eq!(bench.ready(), [false, false]);
    bench.pass(seconds(1));
    assert_eq!(bench.names(), Vec::<String>::new());
    let effects = bench.event(Event::Manifests(manifests(GROUP)));
    let name = &assignment(&effects).workload.as_ref().unwrap().name;
    assert!(names.contains(name));
    assert_eq!(bench.ready(), [true]);
}

#[test]
fn a_service_that_is_added_takes_no_address_away_from_another() {
    let service = |name: &str| {
        format!(
            "---\n{{apiVersion: v1, kind: Service, metadata: {{name: {name}}}, spec: {{ports: [{{port: 80}}]}}}}\n"
        )
    };
    let addresses = |view: View| {
        let named = view.services.into_values();
        named
            .map(|service| (service.name, service.cluster_ips))
            .collect::<BTreeMap<_, _>>()
    };
    // A /28 has 13 addresses, so that many of twelve names want the same.
    let rules = Rules {
        service_network: "10.96.0.0/28".parse().unwrap(),
        ..rules()
    };
    let mut text = String::new();
    let mut bench = Bench::with(rules, flags(), Replicas::One, "");
    for name in "lkjihgfedcba".chars() {
        let before = addresses(bench.view());
        text.push_str(&service(&name.to_string()));
        bench.event(Event::Manifests(manifests(&text)));
        let after = addresses(bench.view());
        for (old, ips) in before {
            assert_eq!(after[&old], ips, "{old}, when {name} was added");
        }
    }
}

#[test]
fn an_annotation_that_sets_the_proxy_changes_the_hash_and_one_that_says_nothing_does_not() {
    let hash = |annotations: &str| {
        let annotated = GROUP.replace(
            "labels: { app: training-app }",
            &format!("annotations: {{ {annotations} }}"),
        );
        assignment(&Bench::new(&annotated).open(1, &VM))
            .config_hash
            .clone()
    };
    let several = "config.linkerd.io/access-log: json, config.linkerd.io/proxy-cpu-limit: '2', \
                   config.linkerd.io/proxy-log-level: debug";
    assert_eq!(hash(several), hash(several), "whatever the order in a map");
    assert_ne!(hash(several), hash(""));
    assert_ne!(hash(several), hash(&several.replace("debug", "trace")));
    assert_eq!(hash("config.linkerd.io/proxy-image: a"), hash(""));
}
