//! The assignment of a workload, from the mesh's settings, its group and itself; and the hash of its content.

use std::net::IpAddr;

use linkerd_harness_api::v1;
use prost::Message as _;
use sha2::{Digest as _, Sha256};

use super::hello::Hello;
use super::workload::Workload;
use super::{HEARTBEAT, Rules, labels};
use crate::linkerd::Settings;
use crate::manifests::Group;

/// The complete assignment; none before the store has given the workload a uid.
pub(super) fn build(
    settings: &Settings,
    rules: &Rules,
    group: &Group,
    hello: &Hello,
    workload: &Workload,
    reconnect_window: std::time::Duration,
) -> Option<v1::Assignment> {
    let (spec, there) = (&workload.spec, workload.there.as_ref()?);
    let mut assignment = v1::Assignment {
        workload: Some(v1::Workload {
            namespace: workload.namespace().to_owned(),
            name: workload.name.clone(),
            uid: there.uid.clone(),
            identity: workload.identity.to_string(),
            server_name: spec.server_name.clone(),
            ips: spec.ips.iter().map(IpAddr::to_string).collect(),
            ports: spec.ports.iter().map(port).collect(),
        }),
        probes: hello.probe_kinds.of(&group.probes),
        proxy: Some(settings.proxy_config(group)),
        warnings: labels::warnings(group, hello),
        ..v1::Assignment::default()
    };
    assignment.config_hash = content_hash(&assignment);
    Some(v1::Assignment {
        group_generation: group.edition,
        timing: Some(v1::Timing {
            heartbeat: wire(HEARTBEAT),
            disconnect_grace: wire(rules.disconnect_grace),
            reconnect_window: wire(reconnect_window),
            config_jitter: None,
        }),
        controller: rules.controller.clone(),
        ..assignment
    })
}

fn port((name, port): &(String, u16)) -> v1::Port {
    v1::Port {
        name: name.clone(),
        port: (*port).into(),
        protocol: "TCP".into(),
    }
}

/// Over what a proxy or a probe is made from, and what people on the VM are told; not over who answered and how often to speak. `extra_env` is hashed apart
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
