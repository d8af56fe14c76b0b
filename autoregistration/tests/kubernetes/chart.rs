//! What the chart makes is taken by a real API server, and grants exactly what the program calls.

pub(crate) mod calls;
mod permissions;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::Pod;
use kube::api::{
    Api, DynamicObject, GroupVersionKind, ObjectMeta, Patch, PatchParams, PostParams,
    ValidationDirective,
};
use kube::discovery::{Scope, pinned_kind};
use lab::apiserver::ApiServer;
use serde::Deserialize as _;
use serde_json::json;

use crate::cluster::Cluster;

/// Definitions of others' kinds, as narrow as their documentation.
const DEFINITIONS: &str = include_str!("chart/definitions.yaml");
const PLAIN: &str = "deploy/linkerd-autoregistration.yaml";
/// What is other than in [`PLAIN`].
const NARROW: &str = "charts/tests/golden/watch-namespaces.yaml";

fn tree(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

fn objects(yaml: &str) -> Vec<DynamicObject> {
    let documents = serde_norway::Deserializer::from_str(yaml);
    let values = documents.map(|document| serde_norway::Value::deserialize(document).unwrap());
    values
        .filter(|value| !value.is_null())
        .map(|value| serde_norway::from_value(value).unwrap())
        .collect()
}

fn manifest(path: &Path) -> Vec<DynamicObject> {
    objects(&fs::read_to_string(path).unwrap())
}

fn kind(object: &DynamicObject) -> &str {
    &object.types.as_ref().unwrap().kind
}

/// An API server of its own, with Linkerd's namespaces and definitions.
pub(crate) async fn with_linkerd() -> (ApiServer, Cluster) {
    let server = tokio::task::spawn_blocking(|| ApiServer::start_audited().unwrap());
    let server = server.await.unwrap();
    let cluster = Cluster::at(&server).await;
    for namespace in ["linkerd", "mesh"] {
        cluster.namespace(namespace).await;
    }
    for document in serde_norway::Deserializer::from_str(DEFINITIONS) {
        let value = serde_norway::Value::deserialize(document).unwrap();
        cluster
            .install(&serde_norway::from_value(value).unwrap())
            .await;
    }
    (server, cluster)
}

/// As `kubectl apply --server-side`, which refuses what is not in a schema.
async fn apply(cluster: &Cluster, object: &DynamicObject) -> Result<DynamicObject, kube::Error> {
    let types = object.types.as_ref().unwrap();
    let wanted = GroupVersionKind::try_from(types).unwrap();
    let (resource, capabilities) = pinned_kind(&cluster.client, &wanted).await?;
    let client = cluster.client.clone();
    let api: Api<DynamicObject> = if capabilities.scope == Scope::Namespaced {
        Api::namespaced_with(
            client,
            object.metadata.namespace.as_deref().unwrap(),
            &resource,
        )
    } else {
        Api::all_with(client, &resource)
    };
    let params = PatchParams {
        field_validation: Some(ValidationDirective::Strict),
        ..PatchParams::apply("chart").force()
    };
    let name = object.metadata.name.as_deref().unwrap();
    api.patch(name, &params, &Patch::Apply(object)).await
}

pub(crate) async fn install(cluster: &Cluster) -> Vec<DynamicObject> {
    install_file(cluster, PLAIN).await
}

/// The same with rights in the namespace `training` and our own only.
pub(crate) async fn install_narrow(cluster: &Cluster) {
    install(cluster).await;
    install_file(cluster, NARROW).await;
}

async fn install_file(cluster: &Cluster, path: &str) -> Vec<DynamicObject> {
    let mut applied = Vec::new();
    for object in manifest(&tree(path)) {
        let answer = apply(cluster, &object).await;
        applied.push(answer.unwrap_or_else(|error| panic!("{}: {error}", kind(&object))));
    }
    applied
}

#[tokio::test]
async fn every_object_is_taken_with_nothing_in_it_that_the_api_does_not_know() {
    let (_server, cluster) = with_linkerd().await;
    cluster.namespace("training").await;
    let mut kinds = BTreeSet::new();
    for object in install(&cluster).await {
        kinds.insert(kind(&object).to_owned());
    }
    for entry in fs::read_dir(tree("charts/tests/golden")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        for object in manifest(&path) {
            let answer = apply(&cluster, &object).await;
            answer.unwrap_or_else(|error| panic!("{}: {}: {error}", path.display(), kind(&object)));
            kinds.insert(kind(&object).to_owned());
        }
    }
    let expected = [
        "AuthorizationPolicy",
        "ClusterRole",
        "ClusterRoleBinding",
        "CustomResourceDefinition",
        "Deployment",
        "MeshTLSAuthentication",
        "Namespace",
        "NetworkAuthentication",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "PodMonitor",
        "Role",
        "RoleBinding",
        "Server",
        "Service",
        "ServiceAccount",
    ];
    assert_eq!(
        kinds.iter().map(String::as_str).collect::<Vec<_>>(),
        expected
    );
}

#[tokio::test]
async fn a_misspelt_field_would_be_noticed() {
    let (_server, cluster) = with_linkerd().await;
    for object in manifest(&tree(PLAIN)) {
        let mut wrong = object.clone();
        let place = match wrong.data.get_mut("spec") {
            Some(spec) => spec,
            None => &mut wrong.data,
        };
        place["misspelt"] = json!("x");
        let refusal = apply(&cluster, &wrong).await.unwrap_err().to_string();
        assert!(refusal.contains("misspelt"), "{}: {refusal}", kind(&object));
        apply(&cluster, &object).await.unwrap();
    }
}

#[tokio::test]
async fn the_pod_needs_nothing_that_a_restricted_namespace_forbids() {
    let (_server, cluster) = with_linkerd().await;
    let applied = install(&cluster).await;
    let deployment = applied.iter().find(|object| kind(object) == "Deployment");
    let spec = &deployment.unwrap().data["spec"]["template"]["spec"];
    let namespace = json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": { "name": "restricted", "labels": { "pod-security.kubernetes.io/enforce": "restricted" } },
    });
    apply(&cluster, &serde_json::from_value(namespace).unwrap())
        .await
        .unwrap();
    let pods = Api::<Pod>::namespaced(cluster.client.clone(), "restricted");
    let pod = |spec: serde_json::Value| Pod {
        metadata: ObjectMeta {
            generate_name: Some("autoregistration-".to_owned()),
            ..ObjectMeta::default()
        },
        spec: serde_json::from_value(spec).unwrap(),
        ..Pod::default()
    };
    let params = PostParams::default();
    pods.create(&params, &pod(spec.clone())).await.unwrap();

    let mut weaker = spec.clone();
    weaker["containers"][0]["securityContext"]["capabilities"]["add"] = json!(["NET_ADMIN"]);
    let refusal = pods.create(&params, &pod(weaker)).await.unwrap_err();
    assert!(refusal.to_string().contains("restricted"), "{refusal}");
}
