//! One machine on two replicas.

use linkerd_harness_api::v1::health_report::State;

use super::vm::name;
use super::{Mesh, Vm};

#[tokio::test]
async fn a_clone_on_another_replica_is_refused_while_the_vm_answers() {
    let mesh = Mesh::start().await;
    let replicas = mesh.three(|plan| plan).await;
    let mut vm = Vm::new(1);
    let (mut session, workload) = vm.join_well(replicas[1].registration()).await;
    let before = mesh.versions().await;
    let mut clone = vm.restarted();
    for replica in [&replicas[0], &replicas[2], &replicas[1]] {
        let mut refused = clone.open(replica.registration()).await.unwrap();
        assert_eq!(refused.end().await.as_deref(), Some("DUPLICATE_INSTANCE"));
    }
    assert!(session.heard_nothing());
    assert_eq!(mesh.versions().await, before);
    session.reports(State::Unhealthy).await;
    mesh.is_ready(&workload, "False").await;
}

#[tokio::test]
async fn a_restarted_vm_takes_the_place_of_a_process_that_hangs_on_another_replica() {
    let mesh = Mesh::start().await;
    let replicas = mesh.three(|plan| plan).await;
    let mut vm = Vm::new(1);
    let (mut old, workload) = vm.join_well(replicas[1].registration()).await;
    let before = mesh.versions().await;
    old.hang();
    let (mut session, told) = vm.restarted().join(replicas[2].registration()).await;
    assert_eq!(name(&told), workload);
    assert_eq!(old.end().await.as_deref(), Some("DUPLICATE_INSTANCE"));
    assert_eq!(mesh.versions().await, before, "it is as it was");
    session.reports(State::Unhealthy).await;
    mesh.is_ready(&workload, "False").await;
}

#[tokio::test]
async fn of_one_process_the_newest_stream_counts_wherever_it_is() {
    let mesh = Mesh::start().await;
    let replicas = mesh.three(|plan| plan).await;
    let mut vm = Vm::new(1);
    let (mut old, workload) = vm.join_well(replicas[1].registration()).await;
    let before = mesh.versions().await;
    // Were it asked, it would not answer.
    old.hang();
    let (mut session, told) = vm.join(replicas[2].registration()).await;
    assert_eq!(name(&told), workload);
    assert_eq!(old.end().await.as_deref(), Some("SUPERSEDED"));
    for replica in [&replicas[0], &replicas[2]] {
        let mut late = vm.clone();
        late.hello.stream_seq = 0;
        let mut late = late.open(replica.registration()).await.unwrap();
        assert_eq!(late.end().await.as_deref(), Some("SUPERSEDED"));
    }
    assert!(session.heard_nothing());
    assert_eq!(mesh.versions().await, before);
    session.reports(State::Unhealthy).await;
    mesh.is_ready(&workload, "False").await;
}
