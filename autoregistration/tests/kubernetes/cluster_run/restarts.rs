//! Replicas that are stopped and started with all VMs connected: nothing is written of any.

use autoregistration::peer::census::PERIOD;

use super::Mesh;
use super::fleet::Fleet;
use super::replica::{GRACE, Plan, Replica};

#[tokio::test]
async fn a_restart_of_the_only_replica_writes_nothing() {
    let mesh = Mesh::start().await;
    let replica = Plan::new(&mesh, 1).start().await;
    let fleet = Fleet::start(20, vec![replica.registration()]).await;
    let before = mesh.versions().await;
    assert_eq!(before.len(), 20);
    fleet.close(replica.registration());
    replica.stop().await;
    let replica = Plan::new(&mesh, 2).start().await;
    fleet.open(replica.registration());
    fleet.are_there().await;
    let _leader = mesh.leader("replica-1").await;
    // Nothing happens, which takes as long as it would take to happen.
    tokio::time::sleep(GRACE + 2 * PERIOD).await;
    assert_eq!(mesh.versions().await, before);
}

#[tokio::test]
async fn a_rolling_restart_of_three_writes_nothing_and_no_vm_is_ever_without_a_stream() {
    let mesh = Mesh::start().await;
    let replicas = mesh.three(|plan| plan).await;
    let places = replicas.iter().map(Replica::registration).collect();
    let fleet = Fleet::start(60, places).await;
    let before = mesh.versions().await;
    assert_eq!(before.len(), 60);
    let mut new = Vec::new();
    for (replica, number) in replicas.into_iter().zip(11..) {
        let name = replica.name.clone();
        fleet.close(replica.registration());
        replica.stop().await;
        mesh.unlist(&name).await;
        fleet.are_there().await;
        let plan = Plan::new(&mesh, number);
        mesh.list(&plan.name, plan.args.cluster.peer_listen).await;
        let replica = plan.start().await;
        fleet.open(replica.registration());
        new.push(replica);
    }
    assert_eq!(fleet.lost(), Vec::<String>::new());
    tokio::time::sleep(GRACE + 2 * PERIOD).await;
    assert_eq!(mesh.versions().await, before);
    let leader = mesh.leader("").await;
    let leader = new.iter().find(|replica| replica.name == leader).unwrap();
    let sweeps = leader.metric("autoregistration_sweeps_total{outcome=\"COMPLETE\"}");
    assert!(sweeps.await > 0, "nobody has looked for the lost");
}
