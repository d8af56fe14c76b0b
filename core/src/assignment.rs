//! What autoregistration tells a VM: who it is in the mesh, how it is probed, how its proxy is set.
//!
//! Kept as JSON in `assignment.json`, so that a VM boots while the controller is away.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::names::HostPort;
use crate::probe::Probe;

/// One assignment, complete: a later one replaces it whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// The `ExternalWorkload` that stands for this VM.
    pub workload: Workload,
    /// Checks on the application; none means that a serving proxy is enough.
    pub probes: Vec<Probe>,
    /// Settings of the proxy that only the mesh knows.
    pub proxy: ProxySettings,
    /// Generation of the group that this was made from; an older one never replaces a newer one.
    pub group_generation: i64,
    /// Hash of the content in hex, for comparing and acknowledging.
    pub config_hash: String,
    /// How often to speak, how long to wait.
    pub timing: Timing,
    /// Which controller answered, for people.
    pub controller: String,
    /// What this VM has asked for and does not get, for people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// Name and address of the VM in the mesh.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workload {
    /// Kubernetes namespace.
    pub namespace: String,
    /// Name, `<group>-<10 hex>`, stable over reboots.
    pub name: String,
    /// uid of the object.
    pub uid: String,
    /// SPIFFE ID under which the VM registered.
    pub identity: String,
    /// DNS name that peers send as SNI.
    pub server_name: String,
    /// Addresses under which the mesh reaches the VM.
    pub ips: Vec<IpAddr>,
    /// Ports of the application.
    pub ports: Vec<WorkloadPort>,
}

/// A port of the application.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkloadPort {
    /// Name, may be empty.
    pub name: String,
    /// Number.
    pub port: u16,
}

/// Settings of the proxy that only the mesh knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProxySettings {
    /// PEM text, at least one certificate.
    pub trust_anchors_pem: String,
    /// e.g. `cluster.local`
    pub cluster_domain: String,
    /// CIDRs, as text for the proxy.
    pub cluster_networks: Vec<ipnet::IpNet>,
    /// Linkerd's destination API.
    pub destination: Endpoint,
    /// Linkerd's policy API.
    pub policy: Endpoint,
    /// e.g. `all-unauthenticated`
    pub default_inbound_policy: String,
    /// Ports without protocol detection, e.g. `25,587,3306`.
    pub opaque_ports: String,
    /// Whether the mesh uses IPv6.
    pub ipv6: bool,
    /// Further variables of the proxy; only those that [`crate::proxy_env`] lists are taken.
    pub extra_env: BTreeMap<String, String>,
}

/// Address and identity of a control-plane service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Where to connect.
    pub addr: HostPort,
    /// DNS name in its certificate, also its SNI.
    pub identity: String,
}

/// How often to speak, how long to wait.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timing {
    /// Between two heartbeats; three missed ones end the stream.
    pub heartbeat: Duration,
    /// First retry after a lost stream falls anywhere in this window, so that a fleet comes back spread out.
    pub reconnect_window: Duration,
}
