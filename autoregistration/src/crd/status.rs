//! What has become of a group.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Type of the condition that says whether VMs can join.
pub const ACCEPTED: &str = "Accepted";
/// Type of the condition that says whether all workloads are described as the group describes them now.
pub const ROLLED_OUT: &str = "RolledOut";
/// Type of the condition that says whether all annotations of the group that are for proxies are taken.
pub const SETTINGS_TAKEN: &str = "SettingsTaken";
/// Type of the condition that says whether it is said who may join.
pub const RESTRICTED: &str = "Restricted";

/// What has become of a group.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExternalGroupStatus {
    /// Generation of the group that this speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// VMs that have joined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub workloads: Option<i32>,
    /// VMs that have joined and get traffic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub ready: Option<i32>,
    /// VMs that have joined and whose `ExternalWorkload` is as the group describes it now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub updated: Option<i32>,
    /// `Accepted`: whether VMs can join, and why not. `RolledOut`: whether all workloads are as the group describes them
    /// now. `SettingsTaken`: whether all annotations for proxies are taken. `Restricted`: whether it is said who may join.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}
