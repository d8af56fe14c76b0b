use super::*;

fn good(text: &str) -> Values {
    values(text).unwrap()
}

fn problems(text: &str) -> Vec<String> {
    let problems = values(text).unwrap_err();
    problems.iter().map(ToString::to_string).collect()
}

#[test]
fn an_old_install_is_read_and_what_its_chart_did_not_know_has_todays_default() {
    let values = good(include_str!("testdata/stable-2.14.yaml"));
    assert_eq!(values.ignored, []);
    assert_eq!(values.cluster_domain, "corp.example");
    assert_eq!(values.identity_trust_domain, "corp.example");
    assert_eq!(values.cluster_networks.len(), 4);
    assert!(values.disable_ipv6, "old charts had no IPv6");
    assert_eq!(values.proxy.workers.cores, Some(0));
    assert_eq!(
        values.proxy.log_level.as_deref(),
        Some("warn,linkerd=info,trust_dns=error")
    );
}

#[test]
fn every_setting_of_a_hardened_install_is_read() {
    let values = good(include_str!("testdata/edge-25.4.yaml"));
    let ignored = values.ignored.iter().map(|problem| problem.field.as_str());
    assert_eq!(
        ignored.collect::<Vec<_>>(),
        [
            "proxy.outboundConnectTimeout",
            "proxy.additionalEnv[LINKERD2_PROXY_IDENTITY_LOCAL_NAME]",
            "proxy.additionalEnv[LINKERD2_PROXY_TRACE_SERVICE_NAME]",
        ]
    );
    assert!(!values.disable_ipv6);
    assert_eq!(values.identity_trust_domain, "root.linkerd.cluster.local");
    assert_eq!(values.cluster_networks.len(), 2);
    assert_eq!(values.proxy.default_inbound_policy, "cluster-authenticated");
    assert_eq!(values.proxy.opaque_ports, "25,4000-4100");
    let variables = values
        .proxy
        .variables(|account, namespace| format!("{account}.{namespace}.id"));
    let variables: Vec<_> = variables
        .iter()
        .map(|(name, value)| format!("{}={value}", name.trim_start_matches("LINKERD2_PROXY_")))
        .collect();
    assert_eq!(
        variables,
        [
            "ACCESS_LOG=json",
            "CONTROL_STREAM_IDLE_TIMEOUT=2m",
            "CONTROL_STREAM_INITIAL_TIMEOUT=5s",
            "CONTROL_STREAM_LIFETIME=30m",
            "CORES=2",
            "CORES_MAX=4",
            "CORES_MAX_RATIO=0.5",
            "CORES_MIN=2",
            "DESTINATION_PROFILE_SUFFIXES=.",
            "INBOUND_CONNECT_TIMEOUT=250ms",
            "INBOUND_DETECT_TIMEOUT=365d",
            "INBOUND_DISCOVERY_IDLE_TIMEOUT=90s",
            "INBOUND_SERVER_HTTP2_KEEP_ALIVE_INTERVAL=20s",
            "INBOUND_SERVER_HTTP2_KEEP_ALIVE_TIMEOUT=6s",
            "INBOUND_SERVER_HTTP2_MAX_CONCURRENT_STREAMS=1000",
            "LOG=warn,linkerd=debug",
            "OUTBOUND_DISCOVERY_IDLE_TIMEOUT=5s",
            "OUTBOUND_METRICS_HOSTNAME_LABELS=true",
            "OUTBOUND_SERVER_HTTP2_ADAPTIVE_FLOW_CONTROL=true",
            "OUTBOUND_SERVER_HTTP2_KEEP_ALIVE_INTERVAL=10s",
            "OUTBOUND_SERVER_HTTP2_KEEP_ALIVE_TIMEOUT=3s",
            "OUTBOUND_TCP_QUEUE_CAPACITY=600",
            "TRACE_COLLECTOR_SVC_ADDR=collector.tracing:4317",
            "TRACE_COLLECTOR_SVC_NAME=collector.tracing.id",
            "TRACE_EXTRA_ATTRIBUTES=region=eu\n",
            "TRACE_SERVICE_NAME=linkerd-proxy",
        ]
    );
}

#[test]
fn every_key_may_be_missing() {
    let values = good("{}");
    assert_eq!(values.cluster_domain, "cluster.local");
    assert_eq!(values.identity_trust_domain, "cluster.local");
    assert_eq!(values.cluster_networks.len(), 5);
    assert!(values.disable_ipv6);
    assert_eq!(values.proxy, Proxy::new("all-unauthenticated".to_owned()));
    assert_eq!(
        values,
        good("{proxy: null, clusterDomain: null, more: [1]}")
    );
    let values = good("{clusterDomain: a.example., identityTrustDomain: ''}");
    assert_eq!(values.cluster_domain, "a.example");
    assert_eq!(values.identity_trust_domain, "a.example");
}

#[test]
fn a_wrong_type_is_said_with_its_path() {
    for (text, path) in [
        ("{proxy: {cores: many}}", "proxy.cores: "),
        ("{disableIPv6: 'no'}", "disableIPv6: "),
        ("{clusterNetworks: [10.0.0.0/8]}", "clusterNetworks: "),
        (
            "{proxy: {control: {streams: {lifetime: [1]}}}}",
            "proxy.control.streams.lifetime: ",
        ),
        (
            "{proxy: {additionalEnv: [{value: a}]}}",
            "proxy.additionalEnv[0]: ",
        ),
        ("{proxy: 1}", "proxy: "),
    ] {
        let problems = problems(text);
        assert!(problems[0].starts_with(path), "{problems:?}");
    }
    for text in ["", "null", "- a", "a: b: c", "{a: 1", "\u{0}"] {
        assert!(values(text).is_err(), "{text:?}");
    }
}

#[test]
fn wrong_names_networks_and_policies_are_said_all_at_once() {
    let problems = problems(
        "{clusterDomain: a..b, identityTrustDomain: 'x y', clusterNetworks: '10.0.0.0/8,10.0.0.1', \
         proxy: {defaultInboundPolicy: open, opaquePorts: '25,mysql'}}",
    );
    let fields = problems.iter().map(|p| p.split(':').next().unwrap());
    assert_eq!(
        fields.collect::<Vec<_>>(),
        [
            "clusterDomain",
            "identityTrustDomain",
            "clusterNetworks",
            "proxy.defaultInboundPolicy",
            "proxy.opaquePorts"
        ],
        "{problems:?}"
    );
    assert!(values("{clusterNetworks: ''}").is_err());
}
