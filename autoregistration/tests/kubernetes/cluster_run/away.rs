//! The API server is away for a while.

use linkerd_harness_api::v1::health_ack::Outcome;
use linkerd_harness_api::v1::health_report::State;

use super::replica::Plan;
use super::vm::name;
use super::{Mesh, Vm};

#[tokio::test]
async fn without_an_api_server_sessions_stay_and_what_happened_is_written_when_it_is_back() {
    let mut mesh = Mesh::start().await;
    let replica = Plan::new(&mesh, 1).start().await;
    let (mut vm, mut comes_back, mut new) = (Vm::new(1), Vm::new(2), Vm::new(3));
    let (mut session, workload) = vm.join_well(replica.registration()).await;
    let (gone, returning) = comes_back.join_well(replica.registration()).await;
    let before = mesh.versions().await;
    mesh.kill();

    let seq = session.says(State::Unhealthy).await;
    assert_eq!(session.acknowledged(seq).await, Outcome::Queued);
    drop(gone);
    let (mut back, told) = comes_back.join(replica.registration()).await;
    assert_eq!(
        name(&told),
        returning,
        "what is known is assigned from memory"
    );
    let mut waits = new.open(replica.registration()).await.unwrap();
    assert_eq!(waits.pending().await, "API_UNAVAILABLE");

    mesh.restart().await;
    let told = waits.assignment().await;
    let (made, _) = mesh.workload(&name(&told)).await;
    assert_eq!(
        made.metadata.uid,
        told.workload.map(|workload| workload.uid)
    );
    mesh.is_ready(&workload, "False").await;
    assert_eq!(mesh.versions().await[&returning], before[&returning]);
    assert!(session.heard_nothing());
    assert!(back.heard_nothing());
}
