mod agreement;
mod precedence;
mod standalone;

use super::*;
use crate::linkerd::values::values;

const POLICY: &str = DEFAULT_INBOUND_POLICY;
const LOG: &str = "config.linkerd.io/proxy-log-level";
const TIMEOUT: &str = "config.linkerd.io/proxy-outbound-connect-timeout";
const ENV: &str = "config.linkerd.io/proxy-additional-env";

fn annotations(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    owned.collect()
}

fn group(pairs: &[(&str, &str)]) -> Group {
    Group {
        namespace: "training".into(),
        name: "vm".into(),
        annotations: annotations(pairs),
        ports: vec![("db".into(), 3306), ("web".into(), 8080)],
        ..Group::default()
    }
}

fn settings(config: &str, namespace: &[(&str, &str)]) -> Settings {
    Settings::new(
        "linkerd".into(),
        values(config).unwrap(),
        "ANCHORS".into(),
        [("training".to_owned(), annotations(namespace))].into(),
    )
}

fn variable(merged: &Merged, name: &str) -> Option<String> {
    let name = format!("LINKERD2_PROXY_{name}");
    merged.proxy.extra_env.get(&name).cloned()
}

fn problems(merged: &Merged) -> Vec<String> {
    merged.problems.iter().map(ToString::to_string).collect()
}

#[test]
fn the_group_goes_over_its_namespace_and_that_over_linkerds_configuration() {
    let config =
        "{proxy: {logLevel: config, outboundConnectTimeout: 1s, defaultInboundPolicy: deny}}";
    let of = |namespace: &[(&str, &str)], own: &[(&str, &str)]| {
        settings(config, namespace).merge(&group(own))
    };
    let merged = of(&[], &[]);
    assert_eq!(variable(&merged, "LOG").as_deref(), Some("config"));
    assert_eq!(merged.proxy.default_inbound_policy, "deny");
    let merged = of(&[(LOG, "namespace"), (POLICY, "audit")], &[]);
    assert_eq!(variable(&merged, "LOG").as_deref(), Some("namespace"));
    assert_eq!(merged.proxy.default_inbound_policy, "audit");
    let merged = of(&[(LOG, "namespace"), (POLICY, "audit")], &[(LOG, "group")]);
    assert_eq!(variable(&merged, "LOG").as_deref(), Some("group"));
    assert_eq!(merged.proxy.default_inbound_policy, "audit");
    assert_eq!(merged.problems, []);
}

/// As in the injector: the annotation of the pod hides the namespace's whether or not it can be read.
#[test]
fn a_value_that_cannot_be_taken_leaves_linkerds_configuration_in_place_and_is_said() {
    let settings = settings("{proxy: {outboundConnectTimeout: 7s}}", &[(TIMEOUT, "8s")]);
    let merged = settings.merge(&group(&[(TIMEOUT, "soon"), (LOG, "debug")]));
    assert_eq!(
        variable(&merged, "OUTBOUND_CONNECT_TIMEOUT").as_deref(),
        Some("7s")
    );
    assert_eq!(
        variable(&merged, "LOG").as_deref(),
        Some("debug"),
        "the rest is taken"
    );
    let problems = problems(&merged);
    assert_eq!(problems.len(), 1);
    assert!(
        problems[0].starts_with(&format!(
            "spec.template.metadata.annotations[{TIMEOUT}]: `soon`"
        )),
        "{problems:?}"
    );
    let merged = settings.merge(&group(&[]));
    assert_eq!(
        variable(&merged, "OUTBOUND_CONNECT_TIMEOUT").as_deref(),
        Some("8000ms")
    );
}

#[test]
fn every_annotation_sets_what_the_table_says() {
    for (name, value, expected) in [
        ("access-log", "apache", vec!["ACCESS_LOG=apache"]),
        (
            "enable-external-profiles",
            "true",
            vec!["DESTINATION_PROFILE_SUFFIXES=."],
        ),
        (
            "proxy-cpu-limit",
            "2500m",
            vec!["CORES=1", "CORES_MAX=3", "CORES_MIN=1"],
        ),
        (
            "proxy-cpu-ratio-limit",
            "0.5",
            vec!["CORES=1", "CORES_MAX_RATIO=0.5", "CORES_MIN=1"],
        ),
        ("proxy-cpu-request", "1500m", vec!["CORES=2", "CORES_MIN=2"]),
        (
            "proxy-disable-inbound-protocol-detect-timeout",
            "1",
            vec!["INBOUND_DETECT_TIMEOUT=365d"],
        ),
        (
            "proxy-disable-outbound-protocol-detect-timeout",
            "T",
            vec!["OUTBOUND_DETECT_TIMEOUT=365d"],
        ),
        (
            "proxy-inbound-connect-timeout",
            "1.5s",
            vec!["INBOUND_CONNECT_TIMEOUT=1500ms"],
        ),
        (
            "proxy-inbound-discovery-cache-unused-timeout",
            "1m",
            vec!["INBOUND_DISCOVERY_IDLE_TIMEOUT=60s"],
        ),
        ("proxy-log-level", "debug", vec!["LOG=debug"]),
        (
            "proxy-metrics-hostname-labels",
            "true",
            vec!["OUTBOUND_METRICS_HOSTNAME_LABELS=true"],
        ),
        (
            "proxy-outbound-connect-timeout",
            "3s",
            vec!["OUTBOUND_CONNECT_TIMEOUT=3000ms"],
        ),
        (
            "proxy-outbound-discovery-cache-unused-timeout",
            "9s",
            vec!["OUTBOUND_DISCOVERY_IDLE_TIMEOUT=9s"],
        ),
    ] {
        let merged =
            settings("{}", &[]).merge(&group(&[(&format!("config.linkerd.io/{name}"), value)]));
        let mut set: Vec<_> = merged
            .proxy
            .extra_env
            .iter()
            .map(|(name, value)| format!("{}={value}", name.trim_start_matches("LINKERD2_PROXY_")))
            .collect();
        set.sort();
        assert_eq!(set, expected, "{name}");
        assert_eq!(merged.problems, [], "{name}");
    }
}

#[test]
fn nonsense_is_left_out_with_a_reason() {
    for (name, value) in [
        ("access-log", "yes"),
        ("default-inbound-policy", "open"),
        ("enable-external-profiles", "maybe"),
        ("opaque-ports", "http"),
        ("proxy-additional-env", "{}"),
        ("proxy-cpu-limit", "two"),
        ("proxy-cpu-ratio-limit", "1.0"),
        ("proxy-inbound-connect-timeout", "-1s"),
        ("proxy-log-level", "a\0b"),
        ("proxy-outbound-connect-timeout", "500us"),
        (
            "proxy-outbound-discovery-cache-unused-timeout",
            "9999999999s",
        ),
        ("proxy-require-identity-inbound-ports", "0"),
    ] {
        let name = format!("config.linkerd.io/{name}");
        let merged = settings("{}", &[]).merge(&group(&[(&name, value)]));
        assert_eq!(merged.problems.len(), 1, "{name}");
        assert_eq!(merged.proxy.extra_env, [].into(), "{name}");
    }
    let long = "x".repeat(1 << 17);
    let merged = settings("{}", &[(LOG, &long)]).merge(&group(&[]));
    assert!(problems(&merged)[0].starts_with("namespace.metadata.annotations["));
    assert!(problems(&merged)[0].len() < 200);
}

#[test]
fn further_variables_of_three_levels_are_merged_by_name() {
    let settings = settings(
        "{proxy: {additionalEnv: [{name: LINKERD2_PROXY_CORES, value: '1'}, \
         {name: LINKERD2_PROXY_METRICS_RETAIN_IDLE, value: 1m}]}}",
        &[(
            ENV,
            r#"[{"name":"LINKERD2_PROXY_CORES","value":"2"},{"name":"LINKERD2_PROXY_OUTBOUND_DETECT_TIMEOUT","value":"2s"}]"#,
        )],
    );
    let merged = settings.merge(&group(&[
        (ENV, r#"[{"name":"LINKERD2_PROXY_CORES","value":"3"},{"name":"LINKERD2_PROXY_ADMIN_LISTEN_ADDR","value":"0.0.0.0:1"},{"name":"LD_PRELOAD","value":"x"}]"#),
        (LOG, "debug"),
    ]));
    assert_eq!(variable(&merged, "CORES").as_deref(), Some("3"));
    assert_eq!(
        variable(&merged, "METRICS_RETAIN_IDLE").as_deref(),
        Some("1m")
    );
    assert_eq!(
        variable(&merged, "OUTBOUND_DETECT_TIMEOUT").as_deref(),
        Some("2s")
    );
    assert_eq!(merged.proxy.extra_env.len(), 4);
    let problems = problems(&merged);
    assert_eq!(problems.len(), 2);
    assert!(
        problems[0].contains("may not be set on a VM"),
        "{problems:?}"
    );
}

#[test]
fn linkerds_controllers_find_what_they_read_on_the_workload_in_a_form_that_they_take() {
    let settings = settings(
        "{proxy: {defaultInboundPolicy: deny}}",
        &[
            (OPAQUE_PORTS, "db, 9000-9100,?"),
            (POLICY, "audit"),
            (LOG, "debug"),
        ],
    );
    let of = |own: &[(&str, &str)]| settings.workload_annotations(&group(own));
    assert_eq!(
        of(&[]),
        annotations(&[(OPAQUE_PORTS, "3306,9000-9100"), (POLICY, "audit")])
    );
    assert_eq!(
        of(&[
            (OPAQUE_PORTS, ""),
            (POLICY, "open"),
            (REQUIRE_IDENTITY, "web,0"),
            ("a/b", "c")
        ]),
        annotations(&[(OPAQUE_PORTS, ""), (REQUIRE_IDENTITY, "8080"), ("a/b", "c")])
    );
}

#[test]
fn without_a_word_the_workload_has_those_of_the_default_opaque_ports_that_are_its_own() {
    let settings = settings("{}", &[]);
    assert_eq!(
        settings.workload_annotations(&group(&[])),
        annotations(&[(OPAQUE_PORTS, "3306")])
    );
    let web = Group {
        ports: vec![(String::new(), 80)],
        ..group(&[])
    };
    assert_eq!(settings.workload_annotations(&web), BTreeMap::new());
}

#[test]
fn traces_are_named_after_the_group_and_have_its_attributes() {
    let config = "{proxy: {tracing: {enabled: true, labels: {region: eu}, collector: {endpoint: 'c.t:4317', \
                  meshIdentity: {serviceAccountName: c, namespace: t}}}}}";
    let mut group = group(&[
        ("resource.opentelemetry.io/tier", "gold"),
        ("resource.opentelemetry.io/bad", "a\nservice.name=b"),
    ]);
    group.labels = annotations(&[
        ("app.kubernetes.io/name", "n"),
        ("app.kubernetes.io/instance", "i"),
    ]);
    let merged = settings(config, &[("resource.opentelemetry.io/zone", "z")]).merge(&group);
    assert_eq!(
        variable(&merged, "TRACE_EXTRA_ATTRIBUTES").as_deref(),
        Some("region=eu\nservice.name=i\ntier=gold\n")
    );
    assert_eq!(
        variable(&merged, "TRACE_COLLECTOR_SVC_NAME").as_deref(),
        Some("c.t.serviceaccount.identity.linkerd.cluster.local")
    );
    assert_eq!(merged.problems.len(), 1);
    let merged = settings("{}", &[]).merge(&group);
    assert_eq!(merged.proxy.extra_env, [].into());
}
