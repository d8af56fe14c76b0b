//! The assignment of a workload, from the mesh's settings, its group and itself; and the hash of its content.

use std::net::IpAddr;

use linkerd_harness_api::v1;
use prost::Message as _;
use sha2::{Digest as _, Sha256};

use super::workload::Workload;
use super::{DISCONNECT_GRACE, HEARTBEAT, Mesh, RECONNECT_WINDOW};
use crate::manifests::{DEFAULT_INBOUND_POLICY, Group, OPAQUE_PORTS};

/// Linkerd's default: server-speaks-first protocols.
const DEFAULT_OPAQUE_PORTS: &str = "25,587,3306,4444,5432,6379,9300,11211";

/// The complete assignment.
pub(super) fn build(
    mesh: &Mesh,
    anchors_pem: &str,
    group: &Group,
    workload: &Workload,
    uid: &str,
) -> v1::Assignment {
    let spec = &workload.spec;
    let mut assignment = v1::Assignment {
        workload: Some(v1::Workload {
            namespace: workload.namespace().to_owned(),
            name: workload.name.clone(),
            uid: uid.to_owned(),
            identity: workload.identity.to_string(),
            server_name: spec.server_name.clone(),
            ips: spec.ips.iter().map(IpAddr::to_string).collect(),
            ports: spec.ports.iter().map(port).collect(),
        }),
        probes: group.probes.clone(),
        proxy: Some(proxy(mesh, anchors_pem, group)),
        ..v1::Assignment::default()
    };
    assignment.config_hash = content_hash(&assignment);
    v1::Assignment {
        group_generation: group.generation,
        timing: Some(v1::Timing {
            heartbeat: wire(HEARTBEAT),
            disconnect_grace: wire(DISCONNECT_GRACE),
            reconnect_window: wire(RECONNECT_WINDOW),
            config_jitter: None,
        }),
        controller: mesh.controller.clone(),
        ..assignment
    }
}

fn port((name, port): &(String, u16)) -> v1::Port {
    v1::Port {
        name: name.clone(),
        port: (*port).into(),
        protocol: "TCP".into(),
    }
}

fn proxy(mesh: &Mesh, anchors_pem: &str, group: &Group) -> v1::ProxyConfig {
    let annotation = |name: &str, default: &str| {
        group
            .annotations
            .get(name)
            .map_or_else(|| default.to_owned(), |value| value.replace(' ', ""))
    };
    let control = |service: &str, port: u16| {
        Some(v1::Endpoint {
            addr: format!(
                "{service}.{}.svc.{}.:{port}",
                mesh.linkerd_namespace, mesh.cluster_domain
            ),
            // Linkerd serves both under the identity of its destination controller.
            identity: mesh.control_identity("linkerd-destination"),
        })
    };
    v1::ProxyConfig {
        trust_anchors_pem: anchors_pem.to_owned(),
        trust_domain: mesh.identity_trust_domain.clone(),
        cluster_domain: mesh.cluster_domain.clone(),
        linkerd_namespace: mesh.linkerd_namespace.clone(),
        cluster_networks: mesh
            .cluster_networks
            .iter()
            .map(ToString::to_string)
            .collect(),
        destination: control("linkerd-dst-headless", 8086),
        policy: control("linkerd-policy", 8090),
        default_inbound_policy: annotation(DEFAULT_INBOUND_POLICY, &mesh.default_inbound_policy),
        opaque_ports: annotation(OPAQUE_PORTS, DEFAULT_OPAQUE_PORTS),
        // One family: with two, Linkerd's addresses of a workload overwrite one another.
        ipv6: false,
        extra_env: std::collections::HashMap::new(),
    }
}

/// Over what a proxy or a probe is made from; not over who answered and how often to speak. `extra_env` is hashed apart
/// and sorted: its order in the encoding is not defined.
fn content_hash(assignment: &v1::Assignment) -> Vec<u8> {
    let mut content = assignment.clone();
    let extra = content
        .proxy
        .as_mut()
        .map(|proxy| std::mem::take(&mut proxy.extra_env))
        .unwrap_or_default();
    let sorted = extra
        .into_iter()
        .collect::<std::collections::BTreeMap<_, _>>();
    let mut hash = Sha256::new_with_prefix(content.encode_length_delimited_to_vec());
    for (name, value) in sorted {
        hash.update(name);
        hash.update([0]);
        hash.update(value);
        hash.update([0]);
    }
    hash.finalize().to_vec()
}

fn wire(duration: std::time::Duration) -> Option<prost_types::Duration> {
    prost_types::Duration::try_from(duration).ok()
}
