//! A mesh without a cluster: its assignments are what they were before there were any settings of a cluster.

use super::*;

fn flags() -> Flags {
    Flags {
        cluster_domain: "cluster.local".into(),
        identity_trust_domain: "id.example".into(),
        linkerd_namespace: "linkerd".into(),
        cluster_networks: vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()],
        default_inbound_policy: "deny".into(),
    }
}

fn endpoint(addr: &str) -> v1::Endpoint {
    v1::Endpoint {
        addr: addr.to_owned(),
        identity: "linkerd-destination.linkerd.serviceaccount.identity.linkerd.id.example"
            .to_owned(),
    }
}

#[test]
fn flags_give_the_settings_that_they_always_gave() {
    let settings = Settings::from_flags(flags(), "ANCHORS".into());
    let plain = v1::ProxyConfig {
        trust_anchors_pem: "ANCHORS".into(),
        trust_domain: "id.example".into(),
        cluster_domain: "cluster.local".into(),
        linkerd_namespace: "linkerd".into(),
        cluster_networks: vec!["10.0.0.0/8".into(), "fd00::/8".into()],
        destination: Some(endpoint(
            "linkerd-dst-headless.linkerd.svc.cluster.local.:8086",
        )),
        policy: Some(endpoint("linkerd-policy.linkerd.svc.cluster.local.:8090")),
        default_inbound_policy: "deny".into(),
        opaque_ports: "25,587,3306,4444,5432,6379,9300,11211".into(),
        ipv6: false,
        extra_env: [].into(),
    };
    assert_eq!(settings.proxy_config(&group(&[])), plain);
    let annotated = group(&[(POLICY, "audit"), (OPAQUE_PORTS, "25, 4000-4100")]);
    assert_eq!(
        settings.proxy_config(&annotated),
        v1::ProxyConfig {
            default_inbound_policy: "audit".into(),
            opaque_ports: "25,4000-4100".into(),
            ..plain
        }
    );
    assert_eq!(
        settings.control_identity("a"),
        "a.linkerd.serviceaccount.identity.linkerd.id.example"
    );
}

#[test]
fn two_replicas_that_have_seen_the_same_say_the_same() {
    let text = include_str!("../../values/testdata/edge-25.4.yaml");
    let of = || settings(text, &[(LOG, "debug"), (TIMEOUT, "2s")]).merge(&group(&[(TIMEOUT, "?")]));
    assert_eq!(of(), of());
}
