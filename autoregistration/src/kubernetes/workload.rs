//! An `ExternalWorkload` as it is written and as it is read. Pure.
//!
//! Written with server-side apply by two field managers: one has all but the status, the other the status, whole. Read
//! field by field: an odd object, whoever made it, is read as far as it can be.

use std::net::IpAddr;

use kube::Resource as _;
use kube::api::DynamicObject;
use linkerd_harness_core::names::GroupRef;
use serde_json::{Map, Value, json};

use crate::crd::external_workload::{ExternalWorkloadSpec, MeshTls, Port, WorkloadIp};
use crate::crd::{ExternalGroup, ExternalWorkload};
use crate::registry::name::{CANDIDATES, Fingerprint};
use crate::store::{
    APPLIED, GROUP, HOSTNAME, INSTANCE, Key, PROXY_INBOUND_PORT, Ready, Spec, Status, Stored,
};

/// Field manager of labels, annotations, owner and spec.
pub const WORKLOAD: &str = "meshexpansion/workload";
/// Field manager of the status.
pub const HEALTH: &str = "meshexpansion/health";
/// Name of the port that is the proxy's inbound listener, for Linkerd.
pub const PROXY_PORT: &str = "linkerd-proxy";
/// The condition that counts.
const READY: &str = "Ready";
/// What a condition says for people is cut to this many characters.
const LONGEST_MESSAGE: usize = 256;

/// The very object that something was decided on. A write with it is refused once there is another, or another version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// uid of the object.
    pub uid: String,
    /// Its version.
    pub resource_version: String,
}

/// An object that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// What it says.
    pub stored: Stored,
    /// When `Ready` last changed its status, as the object says it.
    pub since: Option<String>,
}

// === impl Version ===

impl Version {
    /// That of `stored`.
    pub fn of(stored: &Stored) -> Self {
        Self {
            uid: stored.uid.clone(),
            resource_version: stored.resource_version.clone(),
        }
    }
}

/// What is applied to have `spec`. Without `version` it is made.
pub fn with_spec(key: &Key, spec: &Spec, version: Option<&Version>) -> Value {
    let mut metadata = identity(key, version);
    let mut labels = spec.labels.clone();
    labels.insert(GROUP.to_owned(), spec.group.clone());
    metadata.insert("labels".to_owned(), json!(labels));
    let mut annotations = spec.annotations.clone();
    annotations.insert(INSTANCE.to_owned(), spec.fingerprint.clone());
    if !spec.hostname.is_empty() {
        annotations.insert(HOSTNAME.to_owned(), spec.hostname.clone());
    }
    annotations.insert(APPLIED.to_owned(), spec.hash());
    metadata.insert("annotations".to_owned(), json!(annotations));
    // With `blockOwnerDeletion` we would need a right to the group's finalizers.
    let owner = json!({
        "apiVersion": ExternalGroup::api_version(&()),
        "kind": ExternalGroup::kind(&()),
        "name": spec.group,
        "uid": spec.group_uid,
        "controller": true,
        "blockOwnerDeletion": false,
    });
    metadata.insert("ownerReferences".to_owned(), json!([owner]));
    let mut body = body(metadata);
    body.insert("spec".to_owned(), json!(linkerds(spec)));
    Value::Object(body)
}

/// What is applied to the status to have `ready` since `since`. Linkerd's policy controller cannot read a status
/// without conditions, so it always has exactly this one.
pub fn with_ready(key: &Key, ready: &Ready, since: &str, version: &Version) -> Value {
    let message: String = ready.message.chars().take(LONGEST_MESSAGE).collect();
    let mut body = body(identity(key, Some(version)));
    let condition = json!({
        "type": READY,
        "status": ready.status.as_str(),
        "reason": ready.reason,
        "message": message,
        "lastTransitionTime": since,
    });
    body.insert("status".to_owned(), json!({ "conditions": [condition] }));
    Value::Object(body)
}

fn body(metadata: Map<String, Value>) -> Map<String, Value> {
    let mut body = Map::new();
    body.insert(
        "apiVersion".to_owned(),
        json!(ExternalWorkload::api_version(&())),
    );
    body.insert("kind".to_owned(), json!(ExternalWorkload::kind(&())));
    body.insert("metadata".to_owned(), Value::Object(metadata));
    body
}

fn identity((namespace, name): &Key, version: Option<&Version>) -> Map<String, Value> {
    let mut metadata = Map::new();
    metadata.insert("namespace".to_owned(), json!(namespace));
    metadata.insert("name".to_owned(), json!(name));
    if let Some(version) = version {
        metadata.insert("uid".to_owned(), json!(version.uid));
        metadata.insert(
            "resourceVersion".to_owned(),
            json!(version.resource_version),
        );
    }
    metadata
}

fn linkerds(spec: &Spec) -> ExternalWorkloadSpec {
    let port = |name: &str, port| Port {
        name: (!name.is_empty()).then(|| name.to_owned()),
        port,
        protocol: Some("TCP".to_owned()),
    };
    let mut ports: Vec<Port> = spec
        .ports
        .iter()
        .map(|(name, number)| port(name, *number))
        .collect();
    if spec.proxy_inbound_port != PROXY_INBOUND_PORT {
        ports.push(port(PROXY_PORT, spec.proxy_inbound_port));
    }
    ExternalWorkloadSpec {
        mesh_tls: MeshTls {
            identity: spec.identity.clone(),
            server_name: spec.server_name.clone(),
        },
        ports: Some(ports),
        workload_ips: Some(
            spec.ips
                .iter()
                .map(|ip| WorkloadIp { ip: ip.to_string() })
                .collect(),
        ),
    }
}

/// Reads an object.
pub fn read(object: DynamicObject) -> (Key, Object) {
    let metadata = object.metadata;
    let key = (
        metadata.namespace.unwrap_or_default(),
        metadata.name.unwrap_or_default(),
    );
    let mut labels = metadata.labels.unwrap_or_default();
    let mut annotations = metadata.annotations.unwrap_or_default();
    let label = labels.remove(GROUP);
    let is_labelled = label.is_some();
    let owner = metadata.owner_references.unwrap_or_default();
    let owner = owner
        .into_iter()
        .find(|owner| owner.controller == Some(true) && owner.kind == ExternalGroup::kind(&()));
    let fingerprint = annotations.remove(INSTANCE).unwrap_or_default();
    let group = label.or_else(|| {
        let owner = &owner.as_ref()?.name;
        is_named_by(&fingerprint, owner, &key).then(|| owner.clone())
    });
    let ours = group.is_some();
    let group = group.unwrap_or_default();
    let owner = owner.filter(|owner| owner.name == group);
    let hostname = annotations.remove(HOSTNAME).unwrap_or_default();
    let applied = annotations.remove(APPLIED).unwrap_or_default();
    let text = |path: &str| {
        let text = object.data.pointer(path).and_then(Value::as_str);
        text.unwrap_or_default().to_owned()
    };
    let ports = ports(&object.data);
    let ips = ips(&object.data);
    let (ready, since) = condition(&object.data);
    let stored = Stored {
        uid: metadata.uid.unwrap_or_default(),
        resource_version: metadata.resource_version.unwrap_or_default(),
        ours,
        deleting: metadata.deletion_timestamp.is_some(),
        // What a `Spec` cannot say was not applied by us.
        applied: if is_labelled && ports.whole && ips.whole {
            applied
        } else {
            String::new()
        },
        spec: Spec {
            group_uid: owner.map(|owner| owner.uid).unwrap_or_default(),
            group,
            fingerprint,
            hostname,
            labels,
            annotations,
            ports: ports.named,
            proxy_inbound_port: ports.inbound,
            ips: ips.addresses,
            identity: text("/spec/meshTLS/identity"),
            server_name: text("/spec/meshTLS/serverName"),
        },
        ready,
    };
    (key, Object { stored, since })
}

/// Whether an object without our label is ours all the same: owned by a group, and with a name that follows from what
/// its VM is recognised by. A person may have taken the label away; it is put back when the VM is there.
fn is_named_by(fingerprint: &str, group: &str, (namespace, name): &Key) -> bool {
    let (Ok(namespace), Ok(group)) = (namespace.parse(), group.parse()) else {
        return false;
    };
    let group = GroupRef {
        namespace,
        name: group,
    };
    let fingerprint = Fingerprint::from_hex(fingerprint);
    fingerprint.is_some_and(|fingerprint| {
        (0..CANDIDATES).any(|candidate| fingerprint.workload_name(&group, candidate) == *name)
    })
}

struct Ports {
    named: Vec<(String, u16)>,
    inbound: u16,
    /// Whether that is all of them.
    whole: bool,
}

fn ports(data: &Value) -> Ports {
    let mut ports = Ports {
        named: Vec::new(),
        inbound: PROXY_INBOUND_PORT,
        whole: true,
    };
    let mut inbound = None;
    for port in list(data, "/spec/ports") {
        let number = port.get("port").and_then(Value::as_u64);
        let number = number.and_then(|number| u16::try_from(number).ok());
        let name = port.get("name").and_then(Value::as_str).unwrap_or_default();
        let protocol = port.get("protocol").and_then(Value::as_str);
        match number {
            Some(number) if protocol.is_none_or(|protocol| protocol == "TCP") => {
                if name == PROXY_PORT {
                    // Linkerd takes the first.
                    ports.whole &= inbound.is_none() && number != PROXY_INBOUND_PORT;
                    inbound = inbound.or(Some(number));
                } else {
                    ports.named.push((name.to_owned(), number));
                }
            }
            _ => ports.whole = false,
        }
    }
    ports.inbound = inbound.unwrap_or(PROXY_INBOUND_PORT);
    ports
}

struct Ips {
    addresses: Vec<IpAddr>,
    /// Whether that is all of them.
    whole: bool,
}

fn ips(data: &Value) -> Ips {
    let mut ips = Ips {
        addresses: Vec::new(),
        whole: true,
    };
    for entry in list(data, "/spec/workloadIPs") {
        let address = entry.get("ip").and_then(Value::as_str);
        match address.and_then(|address| address.parse().ok()) {
            Some(address) => ips.addresses.push(address),
            None => ips.whole = false,
        }
    }
    ips
}

/// The condition that Linkerd goes by: it looks for one that is `True`.
fn condition(data: &Value) -> (Option<Ready>, Option<String>) {
    let text = |condition: &Value, field: &str| {
        let text = condition.get(field).and_then(Value::as_str);
        text.unwrap_or_default().to_owned()
    };
    let conditions = list(data, "/status/conditions").iter();
    let all: Vec<&Value> = conditions.filter(|it| text(it, "type") == READY).collect();
    let allows = all.iter().find(|it| text(it, "status") == "True");
    let counts = allows.or(all.first());
    let Some(condition) = counts else {
        return (None, None);
    };
    let ready = Ready {
        status: match text(condition, "status").as_str() {
            "True" => Status::True,
            "False" => Status::False,
            _ => Status::Unknown,
        },
        reason: text(condition, "reason"),
        message: text(condition, "message"),
    };
    let since = text(condition, "lastTransitionTime");
    (Some(ready), (!since.is_empty()).then_some(since))
}

fn list<'a>(data: &'a Value, path: &str) -> &'a [Value] {
    let list = data.pointer(path).and_then(Value::as_array);
    list.map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
pub(super) mod tests;
