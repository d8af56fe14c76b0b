//! What the workloads of a group look like.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::probe::Probe;
use super::{limits, schema};

/// What the workloads of a group look like.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Template {
    /// Labels and annotations of the workloads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Metadata>,
    /// Ports of the application. A port that a Service should reach must be here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = limits::PORTS),
        extend(
            "x-kubernetes-list-type" = "map",
            "x-kubernetes-list-map-keys" = ["port", "protocol"],
            "x-kubernetes-validations" = schema::ports_rules()
        )
    )]
    pub ports: Vec<Port>,
    /// Another place for `spec.probes`; give them in one of the two.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = limits::PROBES), extend("x-kubernetes-list-type" = "atomic"))]
    pub probes: Vec<Probe>,
}

/// Labels and annotations of the workloads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    /// Labels, by which Services and policies choose workloads.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::labels")]
    pub labels: BTreeMap<String, String>,
    /// Annotations. Those of `config.linkerd.io` that have a meaning on a VM reach its proxy.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::annotations")]
    pub annotations: BTreeMap<String, String>,
}

/// A port of the application.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Port {
    /// Name, by which Services and probes can say it: a-z, 0-9 and -, at least one letter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 15), regex(pattern = "^([a-z0-9-]*[a-z][a-z0-9-]*)?$"), extend("x-kubernetes-validations" = schema::port_name_rules()))]
    pub name: Option<String>,
    /// Number.
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
    /// Protocol. Only TCP is meshed.
    #[serde(default)]
    pub protocol: Protocol,
}

/// Protocol of a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
#[schemars(inline)]
pub enum Protocol {
    /// Meshed.
    #[default]
    Tcp,
    /// Left alone.
    Udp,
}
