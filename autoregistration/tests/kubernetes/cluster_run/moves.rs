//! A VM that gets another address: peers with open streams are told by its going and coming again, in that order.

use std::net::IpAddr;
use std::time::Duration;

use super::mesh::until;
use super::replica::Plan;
use super::slices::{Moment, Slices};
use super::{Mesh, Vm};

const OLD: &str = "10.77.0.1";
const NEW: &str = "10.77.0.201";

fn workload(readiness: &str, ip: &str) -> Moment {
    Moment::Workload(readiness.to_owned(), ip.parse().unwrap())
}

fn endpoints(ips: &[&str]) -> Moment {
    let ips = ips.iter().map(|ip| ip.parse::<IpAddr>().unwrap());
    Moment::Endpoints(ips.collect())
}

/// All of it, from ready with the old address to ready with the new one.
fn a_move() -> Vec<Moment> {
    vec![
        workload("True", OLD),
        endpoints(&[OLD]),
        workload("False Reconfiguring", OLD),
        endpoints(&[]),
        workload("False Reconfiguring", NEW),
        workload("True", NEW),
        endpoints(&[NEW]),
    ]
}

/// What was seen since it was ready for the first time, once it ends so.
async fn seen(slices: &mut Slices, end: &Moment) -> Vec<Moment> {
    let first = workload("True", OLD);
    let cell = std::cell::RefCell::new(slices);
    until("it has come to that", async || {
        let seen = cell.borrow_mut().seen();
        let from = seen.iter().position(|moment| *moment == first)?;
        (seen.last() == Some(end)).then(|| seen[from..].to_vec())
    })
    .await
}

#[tokio::test]
async fn a_new_address_is_there_only_after_the_old_one_has_left_the_slices() {
    let mesh = Mesh::start().await;
    let mut slices = Slices::of(&mesh.client);
    let replica = Plan::new(&mesh, 1).start().await;
    let mut vm = Vm::new(1);
    let (mut session, _) = vm.join_well(replica.registration()).await;
    seen(&mut slices, &endpoints(&[OLD])).await;
    slices.hold();
    session.moves_to(NEW).await;
    seen(&mut slices, &workload("False Reconfiguring", OLD)).await;
    // Linkerd's controller has much to do.
    tokio::time::sleep(Duration::from_secs(4)).await;
    slices.release();
    assert_eq!(seen(&mut slices, &endpoints(&[NEW])).await, a_move());
}

#[tokio::test]
async fn a_change_of_address_that_a_replica_did_not_live_to_finish_is_finished_by_another() {
    let mesh = Mesh::start().await;
    let mut slices = Slices::of(&mesh.client);
    let mut replicas = mesh.three(|plan| plan).await;
    let mut vm = Vm::new(1);
    let (mut session, name) = vm.join_well(replicas[1].registration()).await;
    seen(&mut slices, &endpoints(&[OLD])).await;
    slices.hold();
    session.moves_to(NEW).await;
    seen(&mut slices, &workload("False Reconfiguring", OLD)).await;
    let killed = replicas.remove(1);
    mesh.unlist(&killed.name).await;
    killed.kill();
    session.end().await;
    vm.hello.ips = vec![NEW.to_owned()];
    let (_session, told) = vm.join(replicas[1].registration()).await;
    let told = told.workload.unwrap();
    assert_eq!((told.name, told.ips), (name, vec![NEW.to_owned()]));
    slices.release();
    assert_eq!(seen(&mut slices, &endpoints(&[NEW])).await, a_move());
}
