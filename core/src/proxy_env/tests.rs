mod extra;
mod grammar;

use std::path::Path;
use std::time::Duration;

use super::*;
use crate::assignment::{Endpoint, ProxySettings, Timing, Workload, WorkloadPort};

const SPIFFE_ID: &str = "spiffe://root.linkerd.cluster.local/proxy-harness";

const CONFIG: &str = r#"{
  "WorkloadGroup": { "Name": "training-vm", "Namespace": "training" },
  "Control": { "Address": "control.example:8081", "ServerId": "control.example" }
}"#;

fn mk_config() -> Config {
    Config::parse(CONFIG).unwrap()
}

fn mk_assignment() -> Assignment {
    let service = |addr: &str, name: &str| Endpoint {
        addr: addr.parse().unwrap(),
        identity: format!("{name}.linkerd.serviceaccount.identity.linkerd.cluster.local"),
    };
    Assignment {
        workload: Workload {
            namespace: "training".into(),
            name: "training-vm-7ef4eba0aa".into(),
            uid: "6f0f6c2e".into(),
            identity: SPIFFE_ID.into(),
            server_name: "training-vm-7ef4eba0aa.training.external.identity.linkerd.cluster.local"
                .into(),
            ips: vec!["203.0.113.7".parse().unwrap()],
            ports: vec![
                WorkloadPort {
                    name: "web".into(),
                    port: 8080,
                },
                WorkloadPort {
                    name: String::new(),
                    port: 80,
                },
            ],
        },
        probes: Vec::new(),
        proxy: ProxySettings {
            trust_anchors_pem: "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
                .into(),
            cluster_domain: "cluster.local".into(),
            cluster_networks: ["10.0.0.0/8", "fd00::/8"]
                .map(|net| net.parse().unwrap())
                .into(),
            destination: service(
                "linkerd-dst-headless.linkerd.svc.cluster.local.:8086",
                "linkerd-destination",
            ),
            policy: service(
                "linkerd-policy.linkerd.svc.cluster.local.:8090",
                "linkerd-destination",
            ),
            default_inbound_policy: "all-unauthenticated".into(),
            opaque_ports: "25,587,3306,4444,5432,6379,9300,11211".into(),
            ipv6: false,
            extra_env: BTreeMap::new(),
        },
        group_generation: 1,
        config_hash: "00".into(),
        timing: Timing {
            heartbeat: Duration::from_secs(10),
            reconnect_window: Duration::from_secs(10),
        },
        controller: "lab".into(),
        warnings: vec![],
    }
}

fn make(config: &Config, assignment: &Assignment) -> Result<Environment, Refused> {
    environment(&Inputs {
        config,
        assignment,
        spiffe_id: SPIFFE_ID,
        host_addresses: &["127.0.0.1", "10.1.0.4", "::1", "fe80::1"].map(|ip| ip.parse().unwrap()),
        hostname: "vm-training-krc",
    })
}

fn with_assignment(change: impl FnOnce(&mut Assignment)) -> Result<Environment, Refused> {
    let mut assignment = mk_assignment();
    change(&mut assignment);
    make(&mk_config(), &assignment)
}

fn problem(change: impl FnOnce(&mut Assignment)) -> String {
    with_assignment(change).unwrap_err().to_string()
}

#[test]
fn the_whole_environment_is_as_reviewed() {
    let environment = make(&mk_config(), &mk_assignment()).unwrap();
    assert_eq!(environment.ignored, []);
    let lines = environment
        .variables
        .iter()
        .map(|(name, value)| format!("{name}={value}"));
    let text = lines.collect::<Vec<_>>().join("\n") + "\n";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/proxy_env.env");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    assert_eq!(
        text,
        std::fs::read_to_string(&path).unwrap(),
        "refresh with UPDATE_GOLDEN=1"
    );
}

#[test]
fn the_address_list_holds_every_address_once_and_no_loopback() {
    let environment = with_assignment(|assignment| {
        assignment.workload.ips = ["10.1.0.4", "::ffff:10.1.0.4", "203.0.113.7"]
            .map(|ip| ip.parse().unwrap())
            .into();
    });
    let ips = &environment.unwrap().variables["LINKERD2_PROXY_INBOUND_IPS"];
    assert_eq!(ips, "10.1.0.4,203.0.113.7,fe80::1");
}

#[test]
fn what_the_proxy_would_refuse_is_refused_here_all_at_once() {
    let refused = with_assignment(|assignment| {
        assignment.workload.server_name = "10.0.0.1".into();
        assignment.proxy.trust_anchors_pem = "none".into();
        assignment.proxy.default_inbound_policy = "allow".into();
        assignment.proxy.opaque_ports = "25,mysql".into();
        assignment.proxy.cluster_domain = "a b".into();
        assignment.proxy.cluster_networks.clear();
        assignment.proxy.policy.identity = "spiffe://x/y".into();
    });
    let refused = refused.unwrap_err();
    assert_eq!(refused.problems().len(), 7, "{refused}");
}

#[test]
fn a_controller_on_this_host_is_refused_because_it_would_be_trusted_blindly() {
    for address in ["127.0.0.1:8086", "[::1]:8086", "localhost.:8086"] {
        let text = problem(|assignment| {
            assignment.proxy.destination.addr = address.parse().unwrap();
        });
        assert!(text.contains(address) && text.contains("TLS"), "{text}");
    }
}

#[test]
fn without_any_address_nothing_is_started() {
    let mut assignment = mk_assignment();
    assignment.workload.ips.clear();
    let (config, inputs_ips) = (mk_config(), [IpAddr::from([127, 0, 0, 1])]);
    let refused = environment(&Inputs {
        config: &config,
        assignment: &assignment,
        spiffe_id: SPIFFE_ID,
        host_addresses: &inputs_ips,
        hostname: "vm",
    });
    assert!(refused.unwrap_err().to_string().contains("address"));
}

#[test]
fn values_that_the_kernel_cannot_carry_are_refused() {
    let text = problem(|assignment| {
        assignment
            .proxy
            .trust_anchors_pem
            .push_str(&"x".repeat(131_072));
    });
    assert!(text.contains("TRUST_ANCHORS is longer"), "{text}");
    let text = problem(|assignment| assignment.proxy.trust_anchors_pem.push('\0'));
    assert!(text.contains("zero byte"), "{text}");
}

#[test]
fn tokens_survive_hostile_names() {
    const HOSTILE: &str = "a\",\"ns\":\"other";
    let (config, mut assignment) = (mk_config(), mk_assignment());
    assignment.workload.namespace = HOSTILE.to_owned();
    let made = environment(&Inputs {
        config: &config,
        assignment: &assignment,
        spiffe_id: SPIFFE_ID,
        host_addresses: &[],
        hostname: HOSTILE,
    });
    let variables = made.unwrap().variables;
    let token = |name: &str| serde_json::from_str::<serde_json::Value>(&variables[name]).unwrap();
    // Of no node: the controller would look one up for each VM.
    assert_eq!(
        token("LINKERD2_PROXY_DESTINATION_CONTEXT"),
        serde_json::json!({ "ns": HOSTILE })
    );
    let workload = &assignment.workload.name;
    assert_eq!(
        token("LINKERD2_PROXY_POLICY_WORKLOAD"),
        serde_json::json!({ "ns": HOSTILE, "external_workload": workload })
    );
}

#[test]
fn the_hosts_log_level_wins_over_the_meshs() {
    let mut config = mk_config();
    config.proxy.log_level = "debug".into();
    let mut assignment = mk_assignment();
    assignment
        .proxy
        .extra_env
        .insert("LINKERD2_PROXY_LOG".into(), "off".into());
    let environment = make(&config, &assignment).unwrap();
    assert_eq!(
        environment.variables["LINKERD2_PROXY_LOG"],
        "debug,[{headers}]=off,[{request}]=off"
    );
    assert_eq!(environment.ignored[0].why, Why::SetByHost);
}

#[test]
fn fixed_values_follow_the_grammar_that_we_ask_of_the_mesh() {
    let variables = make(&mk_config(), &mk_assignment()).unwrap().variables;
    for (name, grammar) in ALLOWED {
        if let Some(value) = variables.get(*name) {
            assert!(grammar.accepts(value), "{name}={value} is not {grammar}");
        }
    }
}
