//! The API server is away for a while.

use std::time::Duration;

use linkerd_harness_api::v1::health_ack::Outcome;
use linkerd_harness_api::v1::health_report::State;

use super::fleet::Fleet;
use super::mesh::until;
use super::replica::{Plan, Replica, leads};
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

#[tokio::test]
async fn an_api_server_that_hangs_for_longer_than_any_patience_costs_no_vm_its_place() {
    const GRACE: Duration = Duration::from_secs(1);
    const TTL: Duration = Duration::from_secs(3);
    let mesh = Mesh::start().await;
    let replicas = mesh.three(|plan| plan.grace(GRACE).ttl(TTL)).await;
    let places = replicas.iter().map(Replica::registration).collect();
    let fleet = Fleet::start(9, places).await;
    let (mut reports, mut dies, mut new) = (Vm::new(11), Vm::new(12), Vm::new(13));
    let (mut session, reporting) = reports.join_well(replicas[0].registration()).await;
    let (dying, dead) = dies.join_well(replicas[1].registration()).await;
    // From then on whoever is missed is called lost.
    replicas[0].looks("COMPLETE", 1).await;
    let before = mesh.versions().await;

    mesh.pause();
    let seq = session.says(State::Unhealthy).await;
    assert_eq!(session.acknowledged(seq).await, Outcome::Queued);
    until("nobody leads", async || {
        leads(&replicas).await.is_none().then_some(())
    })
    .await;
    drop(dying);
    let mut waits = new.open(replicas[0].registration()).await.unwrap();
    assert_eq!(waits.pending().await, "API_UNAVAILABLE");
    // Nothing happens, which takes as long as it would take to happen.
    tokio::time::sleep(2 * TTL).await;
    mesh.resume();

    waits.assignment().await;
    mesh.is_ready(&reporting, "False").await;
    let leader = until("a replica leads again", async || leads(&replicas).await).await;
    leader.looks("SUSPENDED", 1).await;
    mesh.is_ready(&dead, "True").await;
    leader.looks("COMPLETE", 1).await;
    mesh.is_gone(&dead).await;
    leader.looks("COMPLETE", 1).await;
    let after = mesh.versions().await;
    for (name, version) in before {
        if name != reporting && name != dead {
            assert_eq!(after.get(&name), Some(&version), "{name}");
        }
    }
    assert_eq!(fleet.lost(), Vec::<String>::new());
}
