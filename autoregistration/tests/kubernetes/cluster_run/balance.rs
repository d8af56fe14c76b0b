//! Replicas of which one has all VMs, as after a restart of the others.

use std::time::Duration;

use autoregistration::balance::Pace;

use super::fleet::Fleet;
use super::mesh::until;
use super::{Mesh, Replica};

const PACE: Pace = Pace {
    age: Duration::from_secs(4),
    every: Duration::from_secs(1),
    at_once: 5,
};
const VMS: u8 = 30;
/// A quarter more than a third of them.
const MOST: u64 = 12;

async fn sessions(replica: &Replica) -> u64 {
    let joined = "autoregistration_sessions{stage=\"joined\"}";
    replica.metric(joined).await
}

#[tokio::test]
async fn vms_that_are_all_on_one_replica_spread_without_a_write_or_a_moment_without_a_stream() {
    let mesh = Mesh::start().await;
    let replicas = mesh.three(|plan| plan.pace(PACE)).await;
    let (full, empty) = replicas.split_last().unwrap();
    let fleet = Fleet::start(VMS, vec![full.registration()]).await;
    let before = mesh.versions().await;
    assert_eq!(before.len(), usize::from(VMS));
    for replica in empty {
        fleet.open(replica.registration());
    }
    until("the VMs are spread", async || {
        let mut counts = Vec::new();
        for replica in &replicas {
            counts.push(sessions(replica).await);
        }
        counts.iter().all(|count| *count <= MOST).then_some(())
    })
    .await;
    fleet.are_there().await;
    assert_eq!(fleet.lost(), Vec::<String>::new());
    assert_eq!(mesh.versions().await, before);
    let sent = "autoregistration_goaways_total{reason=\"REBALANCE\"}";
    let sent = full.metric(sent).await;
    assert!(sent >= u64::from(VMS) - MOST, "{sent}");
}

#[tokio::test]
async fn while_a_replica_is_not_known_nobody_is_sent_away() {
    let mesh = Mesh::start().await;
    let replicas = mesh.three(|plan| plan.pace(PACE)).await;
    let [gone, empty, full] = <[Replica; 3]>::try_from(replicas).ok().unwrap();
    let silent = "autoregistration_peer_queries_total{outcome=\"silent\"}";
    gone.kill();
    until("its silence is noticed", async || {
        (full.metric(silent).await > 0).then_some(())
    })
    .await;
    let fleet = Fleet::start(VMS, vec![full.registration()]).await;
    fleet.open(empty.registration());
    // Nothing happens, which takes as long as it would take to happen.
    let asked = full.metric(silent).await;
    let rounds = 2 * PACE.age.as_secs();
    until("it has asked often enough", async || {
        (full.metric(silent).await >= asked + rounds).then_some(())
    })
    .await;
    assert_eq!(sessions(&full).await, u64::from(VMS));
}
