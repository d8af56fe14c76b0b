//! Linkerd's controller of `EndpointSlice`s, as slow as a test wants it to be.

use std::sync::Arc;

use k8s_openapi::api::discovery::v1::EndpointSlice;
use tokio::sync::Mutex;

use super::*;

/// One slice of one workload.
pub(super) struct Slice {
    slices: Api<EndpointSlice>,
    workload: String,
    /// Versions of the slice, each with whether the endpoint was ready.
    pub(super) written: Arc<Mutex<Vec<(String, bool)>>>,
}

impl Slice {
    pub(super) fn of(kept: &Kept, workload: &str) -> Self {
        Self {
            slices: Api::namespaced(kept.client.clone(), &kept.namespace),
            workload: workload.to_owned(),
            written: Arc::default(),
        }
    }

    pub(super) async fn set(&self, ready: bool) {
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": format!("linkerd-external-{}", self.workload),
                "labels": {
                    "kubernetes.io/service-name": "web",
                    "endpointslice.kubernetes.io/managed-by": "linkerd-external-workloads-controller",
                },
            },
            "addressType": "IPv4",
            "endpoints": [{
                "addresses": ["10.77.0.2"],
                "conditions": { "ready": ready },
                "targetRef": { "kind": "ExternalWorkload", "name": self.workload },
            }],
        });
        let name = format!("linkerd-external-{}", self.workload);
        let (by, patch) = (PatchParams::apply("linkerd"), Patch::Apply(slice));
        let applied = self.slices.patch(&name, &by, &patch).await;
        let version = applied.unwrap().metadata.resource_version.unwrap();
        self.written.lock().await.push((version, ready));
    }
}
