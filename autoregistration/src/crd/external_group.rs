//! `ExternalGroup`: VMs that are alike, and what their workloads in the mesh look like.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::access::Access;
use super::probe::Probe;
use super::status::ExternalGroupStatus;
use super::template::Template;
use super::{limits, schema};

/// What is wanted of a group of VMs.
#[expect(
    clippy::duplicated_attributes,
    reason = "each column has a type of its own"
)]
#[derive(
    Clone, Debug, Default, PartialEq, Eq, CustomResource, Deserialize, Serialize, JsonSchema,
)]
#[kube(
    group = "workload.buoyant.io",
    version = "v1alpha1",
    kind = "ExternalGroup",
    namespaced,
    status = "ExternalGroupStatus",
    category = "external",
    shortname = "eg",
    derive = "PartialEq",
    doc = "A group of VMs that are alike: who may join it, when its members are ready, and what they look like to the mesh.",
    printcolumn(
        name = "Workloads",
        type_ = "integer",
        json_path = ".status.workloads",
        description = "VMs that have joined"
    ),
    printcolumn(
        name = "Ready",
        type_ = "integer",
        json_path = ".status.ready",
        description = "VMs that get traffic"
    ),
    printcolumn(
        name = "Updated",
        type_ = "integer",
        json_path = ".status.updated",
        description = "VMs whose ExternalWorkload is as the group describes it now"
    ),
    printcolumn(
        name = "Accepted",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Accepted\")].status",
        description = "Whether VMs can join"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Accepted\")].reason",
        description = "Why they can or cannot"
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Accepted\")].message",
        description = "The same in words",
        priority = 1
    ),
    printcolumn(
        name = "Settings",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"SettingsTaken\")].message",
        description = "Annotations for proxies that are not taken",
        priority = 1
    ),
    printcolumn(
        name = "Restricted",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Restricted\")].reason",
        description = "Whether it is said who may join",
        priority = 1
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = schema::group_rules()))]
pub struct ExternalGroupSpec {
    /// Checks on the application, made on the VM. A workload is ready when all of them pass and its proxy is ready;
    /// without one, when its proxy is ready.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = limits::PROBES), extend("x-kubernetes-list-type" = "atomic"))]
    pub probes: Vec<Probe>,
    /// What the workloads of the group look like.
    #[serde(default)]
    pub template: Template,
    /// Who may join. Without it the controller's default decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,
}
