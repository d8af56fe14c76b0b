//! Edits of the group and of the mesh's settings reach the VMs that are there.

use std::time::Duration;

use kube::api::DeleteParams;
use linkerd_harness_api::v1::{self, health_report::State};
use serde_json::json;
use tokio::time::Instant;

use super::mesh::{GROUP, certificate};
use super::replica::Plan;
use super::vm::name;
use super::{Mesh, Vm};

/// So long a replica waits for what a VM knows already.
const CATCHING_UP: Duration = Duration::from_secs(2);

#[tokio::test]
async fn an_edit_of_the_group_reaches_its_workload_and_its_vm() {
    let mesh = Mesh::start().await;
    let replica = Plan::new(&mesh, 1).start().await;
    let (mut session, workload) = Vm::new(1).join_well(replica.registration()).await;

    mesh.group(json!({ "template": { "metadata": { "labels": { "tier": "back" } } } }))
        .await;
    let labelled = |workload: &autoregistration::crd::ExternalWorkload, ready: &str| {
        let labels = workload.metadata.labels.as_ref().unwrap();
        labels.get("tier").is_some_and(|tier| tier == "back") && ready == "True"
    };
    mesh.comes_to_be(&workload, "it has the label", labelled)
        .await;
    assert!(session.heard_nothing(), "labels are nothing to a VM");

    mesh.group(json!({ "probe": { "httpGet": { "path": "/healthz" } } }))
        .await;
    let told = session.assignment().await;
    assert_eq!(told.probes[0].http_get.as_ref().unwrap().path, "/healthz");
    let unlabelled = |workload: &autoregistration::crd::ExternalWorkload, _: &str| {
        let labels = workload.metadata.labels.as_ref().unwrap();
        !labels.contains_key("tier")
    };
    mesh.comes_to_be(&workload, "it has lost the label", unlabelled)
        .await;

    let policy = "config.linkerd.io/default-inbound-policy";
    mesh.group(
        json!({ "template": { "metadata": { "annotations": { policy: "all-authenticated" } } } }),
    )
    .await;
    let told = session.assignment().await;
    let proxy = told.proxy.unwrap();
    assert_eq!(proxy.default_inbound_policy, "all-authenticated");
    let annotated = |workload: &autoregistration::crd::ExternalWorkload, ready: &str| {
        let annotations = workload.metadata.annotations.as_ref().unwrap();
        annotations.get(policy).is_some() && ready == "True"
    };
    mesh.comes_to_be(&workload, "it has the annotation", annotated)
        .await;
}

#[tokio::test]
async fn a_group_that_is_deleted_and_made_again_ends_no_stream() {
    let mesh = Mesh::start().await;
    let replica = Plan::new(&mesh, 1).start().await;
    let (mut session, first) = Vm::new(1).join(replica.registration()).await;
    session.reports(State::Healthy).await;
    let workload = name(&first);
    let probe = json!({ "probe": { "httpGet": { "path": "/healthz" } } });
    mesh.group(probe).await;
    let edited = session.assignment().await;
    assert!(edited.group_generation > first.group_generation);
    let before = mesh.workload(&workload).await.0.metadata;
    let deleted = mesh.groups().delete(GROUP, &DeleteParams::default()).await;
    drop(deleted.unwrap());
    assert_eq!(session.pending().await, "GROUP_NOT_FOUND");
    mesh.is_gone(&workload).await;

    // When it was made is known to the second.
    tokio::time::sleep(Duration::from_secs(1)).await;
    mesh.group(json!({})).await;
    let told = session.assignment().await;
    assert_eq!(name(&told), workload);
    assert!(
        told.group_generation > edited.group_generation,
        "a harness takes the newest, and generations of the API server begin anew"
    );
    let after = mesh.workload(&workload).await.0.metadata;
    assert_ne!(after.uid, before.uid);
    let owner = |metadata: &kube::api::ObjectMeta| {
        metadata.owner_references.as_ref().unwrap()[0].uid.clone()
    };
    let group = mesh.groups().get(GROUP).await.unwrap();
    assert_ne!(owner(&after), owner(&before));
    assert_eq!(Some(owner(&after)), group.metadata.uid);
    session.reports(State::Healthy).await;
    mesh.is_ready(&workload, "True").await;
}

#[tokio::test]
async fn edits_of_the_mesh_s_settings_and_anchors_reach_its_vms() {
    let mesh = Mesh::start().await;
    let replica = Plan::new(&mesh, 1).start().await;
    let mut vm = Vm::new(1);
    let (mut session, first) = vm.join(replica.registration()).await;
    session.reports(State::Healthy).await;
    let before = mesh.versions().await;

    mesh.settings(
        "clusterNetworks: 10.0.0.0/8\nproxy: { logLevel: trace, defaultInboundPolicy: deny }\n",
    )
    .await;
    let told = session.assignment().await;
    assert_ne!(told.config_hash, first.config_hash);
    let proxy = told.proxy.unwrap();
    assert_eq!(proxy.default_inbound_policy, "deny");
    assert_eq!(proxy.extra_env["LINKERD2_PROXY_LOG"], "trace");

    let (old, new) = (proxy.trust_anchors_pem, certificate());
    mesh.anchors(&format!("{old}{new}")).await;
    let told = session.assignment().await.proxy.unwrap();
    let lines = told
        .trust_anchors_pem
        .lines()
        .filter(|line| !line.is_empty());
    assert!(
        lines.eq(old
            .lines()
            .chain(new.lines())
            .filter(|line| !line.is_empty()))
    );
    // Not what a VM is told by, but what Linkerd's controllers see of it.
    assert_eq!(mesh.versions().await, before);
}

#[tokio::test]
async fn a_vm_that_knows_of_an_edit_which_a_replica_does_not_know_is_not_told_of_the_one_before_at_once()
 {
    let mesh = Mesh::start().await;
    let replica = Plan::new(&mesh, 1).start().await;
    let mut vm = Vm::new(1);
    let (_first, known) = vm.join(replica.registration()).await;
    let newer = known.group_generation + 1;
    vm.hello.resume = Some(v1::Resume {
        group_generation: newer,
        ..v1::Resume::default()
    });
    let asked = Instant::now();
    let (_second, told) = vm.join(replica.registration()).await;
    // Nothing has come, and it is served all the same.
    assert_eq!(told.group_generation, known.group_generation);
    assert!(asked.elapsed() >= CATCHING_UP);

    let asked = Instant::now();
    let mut session = vm.open(replica.registration()).await.unwrap();
    mesh.group(json!({ "probe": { "httpGet": { "path": "/healthz" } } }))
        .await;
    let told = session.assignment().await;
    assert!(told.group_generation == newer || asked.elapsed() >= CATCHING_UP);
}
