//! `ExternalWorkload`: Linkerd's word for a workload outside of the cluster. Its definition comes with Linkerd.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use serde::{Deserialize, Serialize};

/// A workload outside of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, CustomResource, Deserialize, Serialize)]
#[kube(
    group = "workload.linkerd.io",
    version = "v1beta1",
    kind = "ExternalWorkload",
    namespaced,
    status = "ExternalWorkloadStatus",
    schema = "disabled",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct ExternalWorkloadSpec {
    /// Whom a peer must meet there.
    #[serde(rename = "meshTLS")]
    pub mesh_tls: MeshTls,
    /// Ports of the application. The inbound port of the proxy, where it is not 4143, is the one named
    /// `linkerd-proxy`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ports: Option<Vec<Port>>,
    /// Addresses, at most two: one of a family.
    #[serde(
        rename = "workloadIPs",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub workload_ips: Option<Vec<WorkloadIp>>,
}

/// Whom a peer must meet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MeshTls {
    /// SPIFFE ID, which must be in the certificate.
    pub identity: String,
    /// Server name that a peer asks for.
    pub server_name: String,
}

/// A port of the application.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Port {
    /// Name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Number.
    pub port: u16,
    /// `TCP` or `UDP`; TCP when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
}

/// An address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadIp {
    /// The address.
    pub ip: String,
}

/// Whether a workload gets traffic.
///
/// Linkerd's policy controller cannot read a status without conditions: never write one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExternalWorkloadStatus {
    /// `Ready` is the one that counts; without it, or with another status than `True`, no traffic comes.
    pub conditions: Vec<Condition>,
}

/// A condition of a workload. It has no `observedGeneration`, and a time of its probe instead.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// `Ready`.
    #[serde(rename = "type")]
    pub type_: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// Why, as one word in CamelCase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// When the application was last looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_probe_time: Option<Time>,
    /// When `status` last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_transition_time: Option<Time>,
}
