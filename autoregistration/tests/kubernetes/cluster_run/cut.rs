//! The network between replicas is cut: one of them is heard by nobody.

use std::net::SocketAddr;
use std::time::Duration;

use linkerd_harness_api::v1::health_report::State;

use super::line::Line;
use super::mesh::until;
use super::replica::Replica;
use super::vm::name;
use super::{Mesh, Vm};

/// More than the time between two looks of the leader, so that one which counts silence from before is noticed.
const GRACE: Duration = Duration::from_secs(15);

/// Three replicas, and the lines on which each is reached.
async fn three(mesh: &Mesh) -> (Vec<Replica>, Vec<Line>) {
    let mut lines: Vec<(SocketAddr, Line)> = Vec::new();
    let replicas = mesh.three_at(
        |plan| plan.grace(GRACE),
        |listens| {
            let line = Line::to(listens);
            let addr = line.addr;
            lines.push((listens, line));
            addr
        },
    );
    let replicas = replicas.await;
    let place = |listens: SocketAddr| {
        let mut places = replicas.iter().map(|replica| replica.addresses.peers);
        places.position(|place| place == listens)
    };
    lines.sort_by_key(|(listens, _)| place(*listens));
    let lines = lines.into_iter().map(|(_, line)| line).collect();
    (replicas, lines)
}

#[tokio::test]
async fn while_the_leader_cannot_hear_a_replica_nobody_is_marked_and_then_only_who_is_dead() {
    let mesh = Mesh::start().await;
    let (replicas, lines) = three(&mesh).await;
    let (mut lives, mut dies, mut dies_here) = (Vm::new(1), Vm::new(2), Vm::new(3));
    let (_alive, living) = lives.join_well(replicas[1].registration()).await;
    let (dying, dead) = dies.join_well(replicas[1].registration()).await;
    let (dying_here, dead_here) = dies_here.join_well(replicas[0].registration()).await;
    // From then on whoever is missed is called lost.
    replicas[0].looks("COMPLETE", 1).await;
    lines[1].cut();
    replicas[0].looks("INCOMPLETE", 1).await;
    let before = mesh.versions().await;
    drop((dying, dying_here));
    replicas[0].looks("INCOMPLETE", 3).await;
    assert_eq!(mesh.versions().await, before);

    let complete = "autoregistration_sweeps_total{outcome=\"COMPLETE\"}";
    let looked = replicas[0].metric(complete).await;
    lines[1].mend();
    until("the leader hears all again", async || {
        (replicas[0].metric(complete).await > looked).then_some(())
    })
    .await;
    assert_eq!(mesh.versions().await, before, "they may have come back");
    mesh.is_ready(&dead, "Unknown").await;
    mesh.is_ready(&dead_here, "Unknown").await;
    assert_eq!(mesh.versions().await[&living], before[&living]);
}

#[tokio::test]
async fn a_vm_whose_replica_is_cut_off_returns_to_another_as_it_was() {
    let mesh = Mesh::start().await;
    let (replicas, lines) = three(&mesh).await;
    let mut vm = Vm::new(1);
    let (session, workload) = vm.join_well(replicas[1].registration()).await;
    let before = mesh.versions().await;
    lines[1].cut();
    drop(session);
    let (mut session, told) = vm.restarted().join(replicas[2].registration()).await;
    assert_eq!(name(&told), workload);
    assert_eq!(mesh.versions().await, before);
    session.reports(State::Unhealthy).await;
    let after = mesh.versions().await;
    lines[1].mend();
    replicas[0].looks("COMPLETE", 2).await;
    assert!(session.heard_nothing());
    assert_eq!(mesh.versions().await, after);
}

#[tokio::test]
async fn a_clone_that_came_in_while_its_vm_was_cut_off_goes_when_the_cut_is_mended() {
    let mesh = Mesh::start().await;
    let (replicas, lines) = three(&mesh).await;
    let mut vm = Vm::new(1);
    let (mut session, workload) = vm.join_well(replicas[1].registration()).await;
    let before = mesh.versions().await;
    lines[1].cut();
    let (mut clone, told) = vm.restarted().join(replicas[2].registration()).await;
    assert_eq!(name(&told), workload, "nobody could say that it is one");
    lines[1].mend();
    assert_eq!(clone.end().await.as_deref(), Some("DUPLICATE_INSTANCE"));
    assert!(session.heard_nothing());
    assert_eq!(mesh.versions().await, before);
    session.reports(State::Unhealthy).await;
    mesh.is_ready(&workload, "False").await;
}
