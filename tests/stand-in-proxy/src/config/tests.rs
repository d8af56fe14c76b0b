//! What is refused and what is taken.

use super::*;

/// The smallest environment that the real proxy starts with.
fn minimal() -> Env {
    Env::from([
        (
            "LINKERD2_PROXY_IDENTITY_SPIRE_WORKLOAD_API_ADDRESS",
            "unix:///run/spire/agent.sock",
        ),
        ("LINKERD2_PROXY_IDENTITY_SERVER_ID", "spiffe://td/vm"),
        (
            "LINKERD2_PROXY_IDENTITY_SERVER_NAME",
            "vm.ns.external.identity.linkerd.cluster.local",
        ),
        (
            "LINKERD2_PROXY_IDENTITY_TRUST_ANCHORS",
            "-----BEGIN CERTIFICATE-----",
        ),
        (
            "LINKERD2_PROXY_DESTINATION_SVC_ADDR",
            "dst.linkerd.svc.cluster.local.:8086",
        ),
        (
            "LINKERD2_PROXY_DESTINATION_SVC_NAME",
            "linkerd-destination.linkerd",
        ),
        (
            "LINKERD2_PROXY_POLICY_SVC_ADDR",
            "policy.linkerd.svc.cluster.local.:8090",
        ),
        (
            "LINKERD2_PROXY_POLICY_SVC_NAME",
            "linkerd-destination.linkerd",
        ),
        (
            "LINKERD2_PROXY_POLICY_WORKLOAD",
            r#"{"ns":"training","external_workload":"vm"}"#,
        ),
    ])
}

fn problems(env: &Env) -> String {
    match Config::from_env(env) {
        Ok(_) => "accepted".into(),
        Err(invalid) => format!("{invalid}: {}", invalid.problems.join("; ")),
    }
}

#[test]
fn the_minimal_environment_is_accepted_with_the_real_defaults() {
    let config = Config::from_env(&minimal()).unwrap();
    assert_eq!(config.admin.to_string(), "127.0.0.1:4191");
    assert_eq!(config.inbound.listen.to_string(), "0.0.0.0:4143");
    assert_eq!(config.outbound.listen[0].to_string(), "127.0.0.1:4140");
    assert_eq!(config.grace, Duration::from_secs(120));
    assert_eq!(config.outbound.connect.backoff.max, Duration::from_secs(60));
    assert!(
        config.inbound.ports.contains(&4191),
        "the admin port is always watched"
    );
    assert!(config.outbound.profile_networks.is_empty());
}

#[test]
fn each_compulsory_variable_is_missed() {
    for name in [
        "LINKERD2_PROXY_IDENTITY_SPIRE_WORKLOAD_API_ADDRESS",
        "LINKERD2_PROXY_IDENTITY_SERVER_ID",
        "LINKERD2_PROXY_IDENTITY_SERVER_NAME",
        "LINKERD2_PROXY_IDENTITY_TRUST_ANCHORS",
        "LINKERD2_PROXY_DESTINATION_SVC_ADDR",
        "LINKERD2_PROXY_POLICY_SVC_NAME",
        "LINKERD2_PROXY_POLICY_WORKLOAD",
    ] {
        assert_ne!(problems(&minimal().without(name)), "accepted", "{name}");
    }
    let none = minimal()
        .without("LINKERD2_PROXY_DESTINATION_SVC_ADDR")
        .without("LINKERD2_PROXY_DESTINATION_SVC_NAME");
    assert!(
        problems(&none).starts_with("no destination service configured"),
        "{}",
        problems(&none)
    );
}

#[test]
fn values_that_the_real_proxy_refuses_are_refused() {
    for (name, value) in [
        ("IDENTITY_SERVER_ID", "vm.local"),
        ("IDENTITY_SERVER_NAME", "spiffe://td/vm"),
        ("IDENTITY_SERVER_NAME", "10.0.0.1"),
        ("IDENTITY_LOCAL_NAME", "vm.local"),
        ("IDENTITY_TRUST_ANCHORS", ""),
        ("IDENTITY_DISABLED", "1"),
        ("SHUTDOWN_GRACE_PERIOD", "30"),
        ("INBOUND_IPS", "10.0.0.1, 10.0.0.2"),
        ("INBOUND_IPS", ""),
        ("INBOUND_PORTS", "http"),
        ("INBOUND_DEFAULT_POLICY", "sometimes"),
        ("INBOUND_DEFAULT_POLICY", "cluster-unauthenticated"),
        ("OUTBOUND_CONNECT_EXP_BACKOFF_MIN", "100ms"),
        ("CONTROL_STREAM_IDLE_TIMEOUT", "soon"),
        ("SHUTDOWN_ENDPOINT_ENABLED", "yes"),
    ] {
        let env = minimal().with(&full(name), value);
        assert_ne!(problems(&env), "accepted", "{name}={value:?}");
    }
}

#[test]
fn every_problem_is_told_at_once() {
    let env = minimal()
        .with("LINKERD2_PROXY_SHUTDOWN_GRACE_PERIOD", "30")
        .with("LINKERD2_PROXY_INBOUND_PORTS", "http")
        .without("LINKERD2_PROXY_IDENTITY_SERVER_ID");
    let told = problems(&env);
    for name in [
        "SHUTDOWN_GRACE_PERIOD=\"30\"",
        "INBOUND_PORTS",
        "IDENTITY_SERVER_ID must be set",
    ] {
        assert!(told.contains(name), "{name} is not in: {told}");
    }
}

#[test]
fn stream_limits_must_rise() {
    let env = minimal()
        .with("LINKERD2_PROXY_CONTROL_STREAM_INITIAL_TIMEOUT", "3s")
        .with("LINKERD2_PROXY_CONTROL_STREAM_IDLE_TIMEOUT", "1s");
    assert!(
        problems(&env).contains("must be less than"),
        "{}",
        problems(&env)
    );
}

#[test]
fn a_loopback_control_plane_is_plaintext_and_without_limits() {
    let env = minimal()
        .with("LINKERD2_PROXY_POLICY_SVC_ADDR", "127.0.0.1:8090")
        .with("LINKERD2_PROXY_CONTROL_STREAM_INITIAL_TIMEOUT", "3s");
    let config = Config::from_env(&env).unwrap();
    assert_eq!(
        (config.policy.name, config.policy.limits),
        (None, Limits::default())
    );
    assert!(config.destination.name.is_some());
    assert_eq!(
        config.destination.limits.initial,
        Some(Duration::from_secs(3))
    );
}
