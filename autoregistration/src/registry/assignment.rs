//! The assignment of a workload, from the mesh's settings, its group and itself; and the hash of its content.

use std::net::IpAddr;

use linkerd_harness_api::v1;
use prost::Message as _;
use sha2::{Digest as _, Sha256};

use super::probe_kinds::ProbeKinds;
use super::workload::Workload;
use super::{DISCONNECT_GRACE, HEARTBEAT, Mesh, RECONNECT_WINDOW};
use crate::linkerd::{Flags, Settings};
use crate::manifests::Group;

/// The complete assignment.
pub(super) fn build(
    mesh: &Mesh,
    anchors_pem: &str,
    group: &Group,
    probe_kinds: ProbeKinds,
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
        probes: probe_kinds.of(&group.probes),
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
    let flags = Flags {
        cluster_domain: mesh.cluster_domain.clone(),
        identity_trust_domain: mesh.identity_trust_domain.clone(),
        linkerd_namespace: mesh.linkerd_namespace.clone(),
        cluster_networks: mesh.cluster_networks.clone(),
        default_inbound_policy: mesh.default_inbound_policy.clone(),
    };
    Settings::from_flags(flags, anchors_pem.into()).proxy_config(group)
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
