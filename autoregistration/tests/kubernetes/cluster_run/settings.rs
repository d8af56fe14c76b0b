//! What a VM is told is what Linkerd's injector would give a pod, and the same from every replica.

use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, Patch, PatchParams};
use linkerd_harness_api::v1::config_ack::Outcome;
use linkerd_harness_api::v1::{self, harness_message};
use serde_json::json;

use super::mesh::{NAMESPACE, until};
use super::replica::Plan;
use super::{Mesh, Vm};

const LOG: &str = "config.linkerd.io/proxy-log-level";
const OPAQUE: &str = "config.linkerd.io/opaque-ports";

#[tokio::test]
async fn a_group_s_annotation_hides_its_namespace_s_which_hides_the_mesh_s_and_all_replicas_agree()
{
    let mesh = Mesh::start().await;
    let namespaces = Api::<Namespace>::all(mesh.client.clone());
    let annotate = async |annotations: serde_json::Value| {
        let patch = Patch::Merge(json!({ "metadata": { "annotations": annotations } }));
        let params = PatchParams::default();
        drop(namespaces.patch(NAMESPACE, &params, &patch).await.unwrap());
    };
    annotate(json!({ LOG: "debug", OPAQUE: "3306" })).await;
    let replicas = mesh.three(|plan| plan).await;
    let mut vm = Vm::new(1);
    let (mut session, first) = vm.join(replicas[0].registration()).await;
    let proxy = first.proxy.clone().unwrap();
    assert_eq!(proxy.extra_env["LINKERD2_PROXY_LOG"], "debug");
    assert_eq!(proxy.opaque_ports, "25", "the group has its own");
    // Of another replica, the same content has the same hash: a VM that moves restarts nothing.
    for replica in &replicas[1..] {
        let (moved, told) = vm.join(replica.registration()).await;
        session = moved;
        assert_eq!(told.config_hash, first.config_hash);
        assert_eq!(told.proxy.as_ref(), Some(&proxy));
    }

    mesh.group(json!({ "template": { "metadata": { "annotations": { LOG: "trace" } } } }))
        .await;
    let told = session.assignment().await;
    assert_ne!(told.config_hash, first.config_hash);
    let log = |told: &v1::Assignment| {
        told.proxy.as_ref().unwrap().extra_env["LINKERD2_PROXY_LOG"].clone()
    };
    assert_eq!(log(&told), "trace");
    mesh.group(json!({})).await;
    let told = session.assignment().await;
    assert_eq!(log(&told), "debug");
    assert_eq!(told.proxy, first.proxy);
    annotate(json!({ LOG: null })).await;
    assert_eq!(log(&session.assignment().await), "info");
}

#[tokio::test]
async fn what_vms_say_to_their_assignments_is_counted() {
    let mesh = Mesh::start().await;
    let replica = Plan::new(&mesh, 1).start().await;
    let (session, told) = Vm::new(1).join(replica.registration()).await;
    for outcome in [Outcome::Deferred, Outcome::Applied, Outcome::Rejected] {
        let ack = v1::ConfigAck {
            config_hash: told.config_hash.clone(),
            outcome: outcome.into(),
            message: "for a test".to_owned(),
        };
        let kind = harness_message::Kind::ConfigAck(ack);
        assert!(session.tries_to_say(kind).await);
    }
    for outcome in ["DEFERRED", "APPLIED", "REJECTED"] {
        let line = format!("autoregistration_config_acks_total{{outcome=\"{outcome}\"}}");
        until(&line, || async {
            (replica.metric(&line).await == 1).then_some(())
        })
        .await;
    }
}
