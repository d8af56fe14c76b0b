//! What `kubectl get externalgroups` shows: the API server makes the table, kubectl only prints it.

use autoregistration::crd::ExternalGroup;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};

use crate::cluster::Cluster;

async fn table(cluster: &Cluster, namespace: &str) -> Vec<(String, String)> {
    let request = hyper::Request::get(format!(
        "/apis/workload.buoyant.io/v1alpha1/namespaces/{namespace}/externalgroups"
    ))
    .header(
        hyper::header::ACCEPT,
        "application/json;as=Table;v=v1;g=meta.k8s.io",
    )
    .body(Vec::new())
    .unwrap();
    let table: Value = cluster.client.request(request).await.unwrap();
    let names = table["columnDefinitions"].as_array().unwrap();
    let cells = table["rows"][0]["cells"].as_array().unwrap();
    let text = |value: &Value| value.as_str().map_or(value.to_string(), str::to_owned);
    let columns = names.iter().zip(cells);
    columns
        .map(|(column, cell)| (text(&column["name"]), text(cell)))
        .collect()
}

#[tokio::test]
async fn a_list_says_what_is_wrong_and_how_many_are_ready() {
    let cluster = Cluster::shared().await;
    cluster.namespace("columns").await;
    let manifest = "{apiVersion: workload.buoyant.io/v1alpha1, kind: ExternalGroup, metadata: {name: a}, spec: {template: {}}}";
    cluster.create("columns", manifest).await.unwrap();
    let groups = Api::<ExternalGroup>::namespaced(cluster.client.clone(), "columns");
    let status = json!({ "status": {
        "observedGeneration": 1, "workloads": 3, "ready": 2, "updated": 1,
        "conditions": [{
            "type": "Accepted", "status": "False", "reason": "Invalid", "message": "spec.probes[0]: is odd",
            "lastTransitionTime": "2026-01-01T00:00:00Z", "observedGeneration": 1,
        }, {
            "type": "SettingsTaken", "status": "False", "reason": "AnnotationsIgnored", "message": "is no log level",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }, {
            "type": "Restricted", "status": "False", "reason": "OpenAccess", "message": "every VM may join",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }],
    }});
    let patched = groups
        .patch_status("a", &PatchParams::default(), &Patch::Merge(&status))
        .await
        .unwrap();
    assert_eq!(patched.status.unwrap().conditions[0].reason, "Invalid");

    let columns = table(&cluster, "columns").await;
    let (names, cells): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
    assert_eq!(
        names,
        [
            "Name",
            "Workloads",
            "Ready",
            "Updated",
            "Accepted",
            "Reason",
            "Message",
            "Settings",
            "Restricted",
            "Age"
        ]
    );
    assert_eq!(
        cells[..9],
        [
            "a",
            "3",
            "2",
            "1",
            "False",
            "Invalid",
            "spec.probes[0]: is odd",
            "is no log level",
            "OpenAccess"
        ]
    );
}

#[tokio::test]
async fn the_spec_is_not_written_through_the_status_nor_the_status_with_the_spec() {
    let cluster = Cluster::shared().await;
    cluster.namespace("subresource").await;
    let manifest = "{apiVersion: workload.buoyant.io/v1alpha1, kind: ExternalGroup, metadata: {name: a}, spec: {template: {}}, status: {ready: 9}}";
    let created = cluster.create("subresource", manifest).await.unwrap();
    assert_eq!(created.data.get("status"), None);
    let both =
        json!({ "status": { "ready": 1 }, "spec": { "template": { "ports": [{ "port": 1 }] } } });
    let groups = cluster.groups("subresource");
    let patched = groups
        .patch_status("a", &PatchParams::default(), &Patch::Merge(&both))
        .await
        .unwrap();
    assert_eq!(patched.data["status"]["ready"], 1);
    assert_eq!(patched.data["spec"]["template"].get("ports"), None);
    assert_eq!(patched.metadata.generation, Some(1));
}
