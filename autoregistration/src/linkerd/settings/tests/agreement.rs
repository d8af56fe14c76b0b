//! What the settings say is what the harness takes, whole.

use std::time::Duration;

use linkerd_harness_core::assignment::{Assignment, Endpoint, ProxySettings, Timing, Workload};
use linkerd_harness_core::config::Config;
use linkerd_harness_core::proxy_env::{self, Environment, Inputs, Refused};

use super::*;

const CONFIG: &str = r#"{
  "WorkloadGroup": { "Name": "vm", "Namespace": "training" },
  "Control": { "Address": "control.example:8081", "ServerId": "control.example" }
}"#;
const ANCHORS: &str = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
const SPIFFE_ID: &str = "spiffe://root.linkerd.cluster.local/vm";
const VERSIONS: [&str; 3] = [
    include_str!("../../values/testdata/stable-2.14.yaml"),
    include_str!("../../values/testdata/edge-25.4.yaml"),
    include_str!("../../values/testdata/edge-26.8.yaml"),
];

/// The environment of a VM's proxy.
pub(super) fn environment(proxy: &v1::ProxyConfig) -> Result<Environment, Refused> {
    let endpoint = |endpoint: &Option<v1::Endpoint>| {
        let endpoint = endpoint.clone().unwrap();
        Endpoint {
            addr: endpoint.addr.parse().unwrap(),
            identity: endpoint.identity,
        }
    };
    let networks = proxy.cluster_networks.iter();
    let assignment = Assignment {
        workload: Workload {
            namespace: "training".into(),
            name: "vm-7ef4eba0aa".into(),
            uid: "u".into(),
            identity: SPIFFE_ID.into(),
            server_name: "vm-7ef4eba0aa.training.external.identity.linkerd.cluster.local".into(),
            ips: vec!["10.0.0.1".parse().unwrap()],
            ports: Vec::new(),
        },
        probes: Vec::new(),
        proxy: ProxySettings {
            trust_anchors_pem: ANCHORS.into(),
            cluster_domain: proxy.cluster_domain.clone(),
            cluster_networks: networks.map(|network| network.parse().unwrap()).collect(),
            destination: endpoint(&proxy.destination),
            policy: endpoint(&proxy.policy),
            default_inbound_policy: proxy.default_inbound_policy.clone(),
            opaque_ports: proxy.opaque_ports.clone(),
            ipv6: proxy.ipv6,
            extra_env: proxy.extra_env.clone().into_iter().collect(),
        },
        group_generation: 1,
        warnings: Vec::new(),
        config_hash: String::new(),
        timing: Timing {
            heartbeat: Duration::from_secs(30),
            reconnect_window: Duration::from_secs(2),
        },
        controller: String::new(),
    };
    proxy_env::environment(&Inputs {
        config: &Config::parse(CONFIG).unwrap(),
        assignment: &assignment,
        spiffe_id: SPIFFE_ID,
        host_addresses: &[],
        hostname: "vm",
    })
}

#[test]
fn the_harness_takes_every_setting_of_every_version() {
    for text in VERSIONS {
        let proxy = settings(text, &[]).proxy_config(&group(&[]));
        assert!(!proxy.extra_env.is_empty());
        let made = environment(&proxy).unwrap();
        assert_eq!(made.ignored, []);
        for (name, value) in &proxy.extra_env {
            // It has more at its end there.
            if name != "LINKERD2_PROXY_LOG" {
                assert_eq!(made.variables.get(name), Some(value), "{name}");
            }
        }
    }
}

/// So that what `linkerd-config` does not say needs no word from us.
#[test]
fn the_harness_sets_by_itself_what_linkerds_chart_has_by_default() {
    let of = |text: &str| environment(&settings(text, &[]).proxy_config(&group(&[]))).unwrap();
    let mut said = of(VERSIONS[2]);
    // The chart writes the fewest threads twice.
    let fewest = said.variables.remove("LINKERD2_PROXY_CORES_MIN");
    assert_eq!(fewest.as_deref(), Some("1"));
    assert_eq!(said, of("{}"));
}
