//! Workloads that people delete, edit or make by hand.

use std::time::Duration;

use autoregistration::crd::ExternalWorkload;
use autoregistration::store::GROUP as OURS;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use linkerd_harness_api::v1::leave::Mode;
use serde_json::json;

use super::replica::Plan;
use super::vm::name;
use super::{Mesh, Vm};

#[tokio::test]
async fn a_workload_that_is_deleted_while_its_vm_is_here_is_made_again() {
    let mesh = Mesh::start().await;
    let replica = Plan::new(&mesh, 1).start().await;
    let mut vm = Vm::new(1);
    let (mut session, workload) = vm.join_well(replica.registration()).await;
    let (before, _) = mesh.workload(&workload).await;
    let params = DeleteParams::default();
    drop(mesh.workloads().delete(&workload, &params).await.unwrap());
    let told = session.assignment().await;
    assert_eq!(name(&told), workload);
    let (after, _) = mesh.is_ready(&workload, "True").await;
    assert_ne!(after.metadata.uid, before.metadata.uid);
    assert_eq!(
        after.metadata.uid,
        told.workload.map(|workload| workload.uid)
    );
    assert_eq!(after.spec, before.spec);
    assert_eq!(after.metadata.labels, before.metadata.labels);
}

#[tokio::test]
async fn what_is_ours_is_put_back_and_what_others_have_added_is_left() {
    let mesh = Mesh::start().await;
    let replica = Plan::new(&mesh, 1).start().await;
    let mut vm = Vm::new(1);
    let (mut session, workload) = vm.join_well(replica.registration()).await;
    let edit = json!({
        "metadata": { "labels": { "app": "edited", "team": "a" } },
        "spec": { "ports": [{ "name": "other", "port": 81 }] },
    });
    let patch = Patch::Merge(edit);
    let params = PatchParams::default();
    drop(
        mesh.workloads()
            .patch(&workload, &params, &patch)
            .await
            .unwrap(),
    );
    let mended = |workload: &ExternalWorkload, ready: &str| {
        let labels = workload.metadata.labels.as_ref().unwrap();
        let ports = workload.spec.ports.as_ref().unwrap();
        labels["app"] == "training"
            && labels.get("team").is_some_and(|team| team == "a")
            && ports.iter().all(|port| port.port == 80)
            && ready == "True"
    };
    mesh.comes_to_be(&workload, "it is as it was", mended).await;
    assert!(session.heard_nothing());
}

#[tokio::test]
async fn a_workload_of_somebody_else_under_our_name_is_left_alone() {
    let mesh = Mesh::start().await;
    let replica = Plan::new(&mesh, 1).start().await;
    let mut vm = Vm::new(1);
    let (mut session, taken) = vm.join_well(replica.registration()).await;
    session.leaves(Mode::Remove).await;
    assert_eq!(session.end().await, None);
    mesh.is_gone(&taken).await;
    let theirs: ExternalWorkload = serde_json::from_value(json!({
        "apiVersion": "workload.linkerd.io/v1beta1", "kind": "ExternalWorkload", "metadata": { "name": taken },
        "spec": { "meshTLS": { "identity": "spiffe://a/b", "serverName": "a.b" }, "workloadIPs": [{ "ip": "10.0.0.1" }] },
    }))
    .unwrap();
    let made = mesh
        .workloads()
        .create(&PostParams::default(), &theirs)
        .await;
    drop(made.unwrap());
    let before = mesh.versions().await;

    let (_session, workload) = vm.restarted().join_well(replica.registration()).await;
    assert_ne!(workload, taken);
    assert_eq!(mesh.versions().await[&taken], before[&taken]);
    mesh.is_ready(&workload, "True").await;
}

#[tokio::test]
async fn our_label_is_put_back_and_no_vm_is_locked_out_without_it() {
    let mesh = Mesh::start().await;
    let replica = Plan::new(&mesh, 1).start().await;
    let mut vm = Vm::new(1);
    let (session, workload) = vm.join_well(replica.registration()).await;
    let (before, _) = mesh.workload(&workload).await;
    let taken_away = Patch::Merge(json!({ "metadata": { "labels": { OURS: null } } }));
    let takes_away = async || {
        let (workloads, params) = (mesh.workloads(), PatchParams::default());
        let taken = workloads.patch(&workload, &params, &taken_away).await;
        taken.unwrap().metadata.resource_version
    };
    let is_back = |it: &ExternalWorkload, ready: &str| {
        it.metadata.labels.as_ref().unwrap().contains_key(OURS) && ready == "True"
    };
    takes_away().await;
    mesh.comes_to_be(&workload, "the label is back", is_back)
        .await;

    // Also where the VM was not there at the time, and for who did not know it before.
    drop(session);
    replica.kill();
    let version = takes_away().await;
    let replica = Plan::new(&mesh, 2).start().await;
    let (there, _) = mesh.workload(&workload).await;
    assert_eq!(there.metadata.resource_version, version);
    let (_session, told) = vm.restarted().join(replica.registration()).await;
    assert_eq!(name(&told), workload);
    let (after, _) = mesh
        .comes_to_be(&workload, "the label is back", is_back)
        .await;
    assert_eq!(after.metadata.uid, before.metadata.uid);
}

#[tokio::test]
async fn somebody_who_undoes_what_is_written_is_not_answered_for_ever() {
    let mesh = Mesh::start().await;
    let replica = Plan::new(&mesh, 1).start().await;
    let (_session, workload) = Vm::new(1).join_well(replica.registration()).await;
    let other = json!({ "metadata": { "labels": { "app": "other" } } });
    let app = |it: &ExternalWorkload| it.metadata.labels.as_ref().unwrap()["app"].clone();
    let mut undone = 0;
    let until = tokio::time::Instant::now() + Duration::from_secs(30);
    while tokio::time::Instant::now() < until {
        if app(&mesh.workload(&workload).await.0) == "training" {
            let (params, patch) = (PatchParams::default(), Patch::Merge(&other));
            drop(mesh.workloads().patch(&workload, &params, &patch).await);
            undone += 1;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // 5 at once, then after 1, 2, 4, 8 and 16 s.
    assert!((2..=11).contains(&undone), "{undone}");
    mesh.comes_to_be(&workload, "it is as it was", |it, _| app(it) == "training")
        .await;
}
