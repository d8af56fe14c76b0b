//! A group that nobody can read, and replicas that start with it.

use kube::api::DeleteParams;
use linkerd_harness_api::v1::health_report::State;
use serde_json::json;

use super::mesh::OURS;
use super::replica::Plan;
use super::vm::name;
use super::{Mesh, Vm};

#[tokio::test]
async fn vms_of_a_group_that_cannot_be_read_go_on_as_they_were_and_nobody_new_joins_it() {
    let mesh = Mesh::start().await;
    let replica = Plan::new(&mesh, 1).start().await;
    let mut vm = Vm::new(1);
    let (session, workload) = vm.join_well(replica.registration()).await;
    let (before, _) = mesh.workload(&workload).await;
    drop(session);
    replica.kill();
    let soon = json!({ "meshexpansion.io/workload-ttl": "soon" });
    mesh.group(json!({ "annotations": soon })).await;

    let replica = Plan::new(&mesh, 2).start().await;
    let addr = replica.registration();
    let mut vm = vm.restarted();
    let mut session = vm.open(addr).await.unwrap();
    let (reason, message) = session.pending_words().await;
    assert_eq!(reason, "GROUP_NOT_FOUND");
    assert!(message.contains("cannot be used as it is"), "{message}");
    let mut new = Vm::new(2);
    let mut waits = new.open(addr).await.unwrap();
    assert_eq!(waits.pending().await, "GROUP_NOT_FOUND");
    // Groups are read anew, and this one is still there.
    mesh.group_in(OURS, json!({})).await;
    let mut other = Vm::new(3);
    other.of(OURS);
    drop(other.join(addr).await);

    // How it is still counts, and nothing else has changed.
    session.reports(State::Unhealthy).await;
    let (after, _) = mesh.is_ready(&workload, "False").await;
    assert_eq!(after.metadata.uid, before.metadata.uid);
    assert_eq!(after.metadata.labels, before.metadata.labels);
    assert_eq!(after.metadata.annotations, before.metadata.annotations);
    assert_eq!(after.spec, before.spec);
    assert_eq!(mesh.all().await.len(), 1);

    // Mended, it is a group like any other: what is deleted of it by hand is made again.
    mesh.group(json!({})).await;
    assert_eq!(name(&session.assignment().await), workload);
    waits.assignment().await;
    let params = DeleteParams::default();
    drop(mesh.workloads().delete(&workload, &params).await.unwrap());
    let told = session.assignment().await;
    assert_eq!(name(&told), workload);
    let (made, _) = mesh.workload(&workload).await;
    assert_ne!(made.metadata.uid, before.metadata.uid);
    assert_eq!(made.spec, before.spec);
}
