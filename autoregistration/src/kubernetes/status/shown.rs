//! What a group shows of itself, read field by field: an odd status, whoever wrote it, is read as far as it can be.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::DynamicObject;
use serde_json::Value;

use crate::crd::status::{ACCEPTED, ExternalGroupStatus, RESTRICTED, ROLLED_OUT, SETTINGS_TAKEN};

/// What a group shows of itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Shown {
    /// uid of the object.
    pub uid: String,
    /// Its version: no other object has had it.
    pub version: String,
    /// Its generation.
    pub generation: i64,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Its status, without the conditions of others.
    pub status: ExternalGroupStatus,
    /// The conditions of others.
    pub others: Vec<Value>,
}

// === impl Shown ===

// The moments in conditions are compared as any other value.
impl Eq for Shown {}

impl Shown {
    pub(in crate::kubernetes) fn read(object: &DynamicObject) -> Self {
        let metadata = &object.metadata;
        let number = |path: &str| object.data.pointer(path).and_then(Value::as_i64);
        let count = |path: &str| number(path).and_then(|number| i32::try_from(number).ok());
        let conditions = object.data.pointer("/status/conditions");
        let conditions = conditions.and_then(Value::as_array).into_iter().flatten();
        let (ours, others): (Vec<&Value>, Vec<&Value>) =
            conditions.partition(|condition| is_ours(condition));
        let mut conditions: Vec<Condition> = ours
            .into_iter()
            .filter_map(|condition| serde_json::from_value(condition.clone()).ok())
            .collect();
        conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
        Self {
            uid: metadata.uid.clone().unwrap_or_default(),
            version: metadata.resource_version.clone().unwrap_or_default(),
            generation: metadata.generation.unwrap_or_default(),
            deleting: metadata.deletion_timestamp.is_some(),
            status: ExternalGroupStatus {
                observed_generation: number("/status/observedGeneration"),
                workloads: count("/status/workloads"),
                ready: count("/status/ready"),
                updated: count("/status/updated"),
                conditions,
            },
            others: others.into_iter().cloned().collect(),
        }
    }
}

fn is_ours(condition: &Value) -> bool {
    let name = condition.get("type").and_then(Value::as_str);
    name.is_some_and(|name| [ACCEPTED, RESTRICTED, ROLLED_OUT, SETTINGS_TAKEN].contains(&name))
}
