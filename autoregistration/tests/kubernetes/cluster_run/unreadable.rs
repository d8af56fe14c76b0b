//! A group that cannot be read when a replica starts.

use linkerd_harness_api::v1::health_report::State;
use serde_json::json;

use super::replica::Plan;
use super::vm::name;
use super::{Mesh, Vm};

#[tokio::test]
async fn vms_of_a_group_that_is_broken_at_a_start_go_on_as_they_were_and_rejoin_when_it_is_mended()
{
    let mesh = Mesh::start().await;
    let replica = Plan::new(&mesh, 1).start().await;
    let (mut vm, mut new) = (Vm::new(1), Vm::new(2));
    let (session, workload) = vm.join_well(replica.registration()).await;
    let before = mesh.versions().await;
    drop(session);
    replica.kill();
    let nonsense = json!({ "config.linkerd.io/default-inbound-policy": "nonsense" });
    mesh.group(json!({ "template": { "metadata": { "annotations": nonsense } } }))
        .await;

    let replica = Plan::new(&mesh, 2).start().await;
    let mut session = vm.open(replica.registration()).await.unwrap();
    assert_eq!(session.pending().await, "GROUP_NOT_FOUND");
    let mut waits = new.open(replica.registration()).await.unwrap();
    assert_eq!(waits.pending().await, "GROUP_NOT_FOUND");
    assert_eq!(mesh.versions().await, before);
    session.reports(State::Unhealthy).await;
    let (sick, _) = mesh.is_ready(&workload, "False").await;

    mesh.group(json!({})).await;
    let told = session.assignment().await;
    assert_eq!(name(&told), workload);
    waits.assignment().await;
    session.reports(State::Unhealthy).await;
    let (after, _) = mesh.workload(&workload).await;
    assert_eq!(after.spec, sick.spec);
    assert_eq!(after.metadata.uid, sick.metadata.uid);
}
