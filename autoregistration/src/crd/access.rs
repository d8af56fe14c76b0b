//! Who may join a group.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema;

/// Who may join a group. What is left out is not restricted; an empty list lets nobody in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = schema::access_rules()))]
pub struct Access {
    /// SPIFFE IDs, exact, or with `/*` at the end for everything below a path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::identities")]
    pub identities: Option<Vec<String>>,
    /// Networks, as address/bits, in which every address of a VM must be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::networks")]
    pub networks: Option<Vec<String>>,
    /// Keys of labels that a VM may set for itself, exact, or all with a prefix, as `example.com/*`; none when it is left
    /// out. Those of kubernetes.io, k8s.io, linkerd.io and meshexpansion.io are nobody's to allow. The template wins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::label_keys")]
    pub allowed_labels: Vec<String>,
    /// How many workloads the group may have at the same time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub max_workloads: Option<i32>,
}
