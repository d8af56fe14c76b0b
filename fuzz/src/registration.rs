//! The registration protocol, both ends, and the assignment on disk.

use autoregistration::registry::hello;
use linkerd_harness::registration::assignment;
use linkerd_harness_api::v1;
use linkerd_harness_core::assignment::Assignment;
use linkerd_harness_core::probe::{Check, Threshold, check_command};
use prost::Message;

use crate::Target;
use crate::certificates::anchor_pem;

pub(crate) const ASSIGNMENT: Target = Target {
    name: "assignment",
    run: wire,
    seeds: || vec![mk_assignment().encode_to_vec()],
};

pub(crate) const KEPT_ASSIGNMENT: Target = Target {
    name: "kept_assignment",
    run: kept,
    seeds: || {
        let checked = assignment::from_wire(mk_assignment()).ok();
        checked
            .iter()
            .filter_map(|checked| serde_json::to_vec(checked).ok())
            .collect()
    },
};

pub(crate) const HELLO: Target = Target {
    name: "hello",
    run: hello,
    seeds: || vec![mk_hello().encode_to_vec()],
};

/// As the harness takes it from the controller.
fn wire(input: &[u8]) -> bool {
    let Ok(wire) = v1::Assignment::decode(input) else {
        return false;
    };
    match assignment::from_wire(wire) {
        Ok(checked) => {
            for probe in &checked.probes {
                if let Check::Exec { command } = &probe.check {
                    assert_eq!(check_command(command), Ok(()), "it would be run");
                }
            }
            let again = assignment::from_wire(assignment::to_wire(&checked));
            assert_eq!(again, Ok(checked), "what is taken can be sent on");
            true
        }
        Err(error) => {
            assert!(!error.problems().is_empty(), "refused without a reason");
            false
        }
    }
}

/// As the harness reads it at boot.
fn kept(input: &[u8]) -> bool {
    let Ok(kept) = serde_json::from_slice::<Assignment>(input) else {
        return false;
    };
    for probe in &kept.probes {
        let mut threshold = Threshold::new(probe);
        for success in [true, false, true] {
            threshold.observe(success);
        }
    }
    let text = serde_json::to_vec(&kept).expect("what was read can be written");
    let again = serde_json::from_slice::<Assignment>(&text);
    assert_eq!(again.expect("and read again"), kept);
    true
}

/// As the controller takes it from a VM.
fn hello(input: &[u8]) -> bool {
    let Ok(wire) = v1::Hello::decode(input) else {
        return false;
    };
    match hello::check(wire) {
        Ok(hello) => {
            assert!(!hello.ips.is_empty() && hello.proxy_inbound_port != 0);
            true
        }
        Err(refusal) => {
            assert!(!refusal.message().is_empty(), "refused without a reason");
            false
        }
    }
}

fn mk_assignment() -> v1::Assignment {
    let endpoint = |addr: &str| {
        Some(v1::Endpoint {
            addr: addr.into(),
            identity: "linkerd-destination.linkerd.serviceaccount.identity.linkerd.cluster.local"
                .into(),
        })
    };
    v1::Assignment {
        workload: Some(v1::Workload {
            namespace: "training".into(),
            name: "training-vm-0123456789".into(),
            uid: "uid".into(),
            identity: "spiffe://root.linkerd.cluster.local/proxy-harness".into(),
            server_name: "training-vm-0123456789.training.external.identity.linkerd.cluster.local"
                .into(),
            ips: vec!["10.77.0.2".into()],
            ports: vec![v1::Port {
                name: "http".into(),
                port: 80,
                protocol: "TCP".into(),
            }],
        }),
        probes: mk_probes(),
        proxy: Some(v1::ProxyConfig {
            trust_anchors_pem: anchor_pem(),
            cluster_domain: "cluster.local".into(),
            cluster_networks: vec!["10.0.0.0/8".into()],
            destination: endpoint("linkerd-dst-headless.linkerd.svc.cluster.local.:8086"),
            policy: endpoint("linkerd-policy.linkerd.svc.cluster.local.:8090"),
            default_inbound_policy: "all-unauthenticated".into(),
            opaque_ports: "25,587,4000-4100".into(),
            ..v1::ProxyConfig::default()
        }),
        group_generation: 1,
        config_hash: vec![1, 2, 255],
        controller: "controller".into(),
        ..v1::Assignment::default()
    }
}

/// One of each kind.
fn mk_probes() -> Vec<v1::Probe> {
    vec![
        v1::Probe {
            http_get: Some(v1::HttpGet {
                port: 80,
                path: "/ready".into(),
                ..v1::HttpGet::default()
            }),
            ..v1::Probe::default()
        },
        v1::Probe {
            tcp_socket: Some(v1::TcpSocket {
                host: "localhost".into(),
                port: 5432,
            }),
            ..v1::Probe::default()
        },
        v1::Probe {
            grpc: Some(v1::Grpc {
                port: 50051,
                service: "shop.Cart".into(),
            }),
            ..v1::Probe::default()
        },
        v1::Probe {
            exec: Some(v1::Exec {
                command: vec!["/bin/true".into(), "a b".into()],
            }),
            ..v1::Probe::default()
        },
    ]
}

fn mk_hello() -> v1::Hello {
    v1::Hello {
        group: Some(v1::GroupRef {
            namespace: "training".into(),
            name: "training-vm".into(),
        }),
        instance_id: vec![7; 32],
        boot_id: b"boot".into(),
        session_id: b"session".into(),
        stream_seq: 1,
        ips: vec!["10.77.0.2".into(), "fd77::2".into()],
        proxy_inbound_port: 4143,
        zone: "zone-a".into(),
        health: Some(v1::HealthReport::default()),
        build: Some(v1::BuildInfo {
            hostname: "vm".into(),
            ..v1::BuildInfo::default()
        }),
        capabilities: vec!["pending".into(), "probe-tcp".into()],
        ..v1::Hello::default()
    }
}
