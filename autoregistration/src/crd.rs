//! The kinds of Kubernetes objects that are read and written: our own [`ExternalGroup`], whose definition is made from
//! the types here, and Linkerd's [`ExternalWorkload`], which is used as it is and never installed by us.

pub mod access;
pub mod annotations;
pub mod external_group;
pub mod external_workload;
pub mod limits;
pub mod probe;
mod schema;
pub mod status;
pub mod template;
#[cfg(test)]
mod tests;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;

pub use external_group::ExternalGroup;
pub use external_workload::ExternalWorkload;

/// Definition of [`ExternalGroup`].
pub fn external_group() -> CustomResourceDefinition {
    let mut definition = ExternalGroup::crd();
    for version in &mut definition.spec.versions {
        let root = version
            .schema
            .as_mut()
            .and_then(|schema| schema.open_api_v3_schema.as_mut());
        if let Some(root) = root {
            // The derive has no place for what is said of the name.
            root.x_kubernetes_validations = Some(vec![schema::name_rule()]);
        }
    }
    definition
}

/// What `kubectl apply -f -` takes: the definitions of our kinds.
pub fn yaml() -> Result<String, serde_norway::Error> {
    serde_norway::to_string(&external_group())
}
