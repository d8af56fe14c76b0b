//! VMs and replicas that vanish.

use std::time::Duration;

use autoregistration::peer::census::PERIOD;
use tokio::time::Instant;

use super::mesh::{address, until};
use super::replica::{GRACE, TTL, leads};
use super::vm::name;
use super::{Mesh, Vm};

#[tokio::test]
async fn a_vm_that_dies_is_unknown_after_the_grace_and_back_as_it_was_and_gone_after_its_time() {
    let mesh = Mesh::start().await;
    let replicas = mesh.three(|plan| plan.ttl(TTL)).await;
    let mut vm = Vm::new(1);
    let (session, workload) = vm.join_well(replicas[1].registration()).await;
    let (before, _) = mesh.workload(&workload).await;
    // A leader that is new waits for longer than the grace before it calls anybody lost.
    let judged = "autoregistration_sweeps_total{outcome=\"COMPLETE\"}";
    until("the leader judges", || async {
        (replicas[0].metric(judged).await > 0).then_some(())
    })
    .await;
    let died = Instant::now();
    drop(session);
    let (_, ready) = mesh.is_ready(&workload, "Unknown").await;
    assert_eq!(ready.unwrap().reason.as_deref(), Some("HarnessUnreachable"));
    // The last time that it was seen may have been a period before.
    assert!(died.elapsed() >= GRACE.saturating_sub(PERIOD));

    let mut vm = vm.restarted();
    let (session, told) = vm.join(replicas[2].registration()).await;
    let (after, _) = mesh.is_ready(&workload, "True").await;
    assert_eq!(name(&told), workload);
    assert_eq!(after.metadata.uid, before.metadata.uid);
    assert_eq!(after.spec, before.spec);

    let died = Instant::now();
    drop(session);
    mesh.is_ready(&workload, "Unknown").await;
    assert!(
        died.elapsed() >= GRACE.saturating_sub(PERIOD),
        "it was back"
    );
    mesh.is_gone(&workload).await;
}

#[tokio::test]
async fn another_leads_when_the_leader_is_killed_and_only_vms_that_stay_away_are_marked() {
    let mesh = Mesh::start().await;
    let mut replicas = mesh.three(|plan| plan).await;
    let (mut returns, mut stays_away, mut elsewhere) = (Vm::new(1), Vm::new(2), Vm::new(3));
    let leader = replicas[0].registration();
    let (mut first, returning) = returns.join_well(leader).await;
    let (mut second, away) = stays_away.join_well(leader).await;
    let (_third, other) = elsewhere.join_well(replicas[1].registration()).await;
    let before = mesh.versions().await;

    let killed = replicas.remove(0);
    let name = killed.name.clone();
    killed.kill();
    drop((first.end().await, second.end().await));
    mesh.unlist(&name).await;
    let _back = returns.join(replicas[0].registration()).await;
    assert_ne!(mesh.leader(&name).await, name);
    mesh.is_ready(&away, "Unknown").await;
    let after = mesh.versions().await;
    assert_eq!(after[&returning], before[&returning]);
    assert_eq!(after[&other], before[&other]);
    assert_ne!(after[&away], before[&away]);
}

#[tokio::test]
async fn a_new_leader_waits_for_the_vms_of_the_one_before_it_for_longer_than_the_grace() {
    let mesh = Mesh::start().await;
    let grace = Duration::from_secs(1);
    let mut replicas = mesh.three(|plan| plan.grace(grace)).await;
    let (mut returns, mut stays_away) = (Vm::new(1), Vm::new(2));
    let leader = replicas[0].registration();
    let (_first, returning) = returns.join_well(leader).await;
    let (_second, away) = stays_away.join_well(leader).await;
    let before = mesh.versions().await;

    let killed = replicas.remove(0);
    let name = killed.name.clone();
    killed.kill();
    mesh.unlist(&name).await;
    let leader = until("another leads", async || leads(&replicas).await).await;
    // Twice: the second look is a period after the first, which is long after the grace.
    leader.looks("SUSPENDED", 2).await;
    assert_eq!(mesh.versions().await, before, "they may be on their way");

    let _back = returns.join(replicas[1].registration()).await;
    mesh.is_ready(&away, "Unknown").await;
    assert_eq!(mesh.versions().await[&returning], before[&returning]);
}

#[tokio::test]
async fn while_a_replica_that_is_listed_does_not_answer_nobody_is_marked() {
    let mesh = Mesh::start().await;
    let replicas = mesh.three(|plan| plan).await;
    let mut vm = Vm::new(1);
    let (session, workload) = vm.join_well(replicas[1].registration()).await;
    // It takes connections, and says nothing.
    let silent = std::net::TcpListener::bind((address(), 0)).unwrap();
    mesh.list("silent", silent.local_addr().unwrap()).await;
    let incomplete = "autoregistration_sweeps_total{outcome=\"INCOMPLETE\"}";
    let sweeps = async |least: u64| {
        until("the leader has looked", || async {
            (replicas[0].metric(incomplete).await >= least).then_some(())
        })
        .await;
    };
    sweeps(replicas[0].metric(incomplete).await + 1).await;
    let before = mesh.versions().await;
    drop(session);
    // Until long after the grace.
    let enough = GRACE.as_secs().div_ceil(PERIOD.as_secs()) + 1;
    sweeps(replicas[0].metric(incomplete).await + enough).await;
    assert_eq!(mesh.versions().await, before);
    mesh.unlist("silent").await;
    mesh.is_ready(&workload, "Unknown").await;
}
