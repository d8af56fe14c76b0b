//! A VM registers, becomes ready, goes away, comes back.

use linkerd_harness_api::v1::health_report::State;
use linkerd_harness_api::v1::{self, controller_message::Kind, harness_message};

use crate::lab::Lab;
use crate::pki::VM_ID;
use crate::vm::{Session, hello};

async fn session(lab: &Lab, hello: v1::Hello) -> Session {
    Session::open(lab.channel().await, hello).await.unwrap()
}

#[tokio::test]
async fn a_vm_registers_becomes_ready_disconnects_and_comes_back_under_its_name() {
    let lab = Lab::start().await;
    let mut vm = session(&lab, hello()).await;
    let assignment = vm.assignment().await;
    let workload = assignment.workload.clone().unwrap();
    assert_eq!(workload.identity, VM_ID);
    assert_eq!(
        assignment.proxy.unwrap().trust_anchors_pem,
        lab.files.root.pem
    );
    let key = ("training".to_owned(), workload.name.clone());
    lab.view("registered, not ready", |view| {
        view.members.get(&key).is_some_and(|member| !member.ready)
    })
    .await;

    vm.report(2, State::Healthy).await;
    let acknowledged = vm.next().await.unwrap();
    assert!(
        matches!(acknowledged, Some(Kind::HealthAck(ack)) if ack.seq == 2
            && ack.outcome() == v1::health_ack::Outcome::Persisted)
    );
    let view = lab.view("ready", |view| view.members[&key].ready).await;
    let service = &view.services[&("training".to_owned(), "training-vm".to_owned())];
    assert_eq!(view.selected(service, &service.ports[0]).count(), 1);

    vm.say(harness_message::Kind::Heartbeat(v1::Heartbeat { seq: 1 }))
        .await;
    let answered = vm.next().await.unwrap();
    assert_eq!(answered, Some(Kind::Heartbeat(v1::Heartbeat { seq: 1 })));

    drop(vm);
    let again = v1::Hello {
        session_id: vec![9; 16],
        boot_id: vec![9; 16],
        health: Some(v1::HealthReport {
            seq: 1,
            state: State::Healthy.into(),
            ..v1::HealthReport::default()
        }),
        ..hello()
    };
    let mut vm = session(&lab, again).await;
    assert_eq!(vm.assignment().await.workload.unwrap(), workload);
    let view = lab.standalone.view.borrow().clone();
    assert_eq!(view.members.len(), 1);
    assert!(view.members[&key].ready);
}

#[tokio::test]
async fn a_leave_ends_the_stream_well_and_removes_the_workload() {
    let lab = Lab::start().await;
    let mut vm = session(&lab, hello()).await;
    vm.assignment().await;
    vm.say(harness_message::Kind::Leave(v1::Leave {
        mode: v1::leave::Mode::Remove.into(),
        ..v1::Leave::default()
    }))
    .await;
    assert_eq!(vm.next().await.unwrap(), None);
    lab.view("removed", |view| view.members.is_empty()).await;
}

#[tokio::test]
async fn a_shutdown_says_go_away_and_ends() {
    let lab = Lab::start().await;
    let mut vm = session(&lab, hello()).await;
    vm.assignment().await;
    lab.standalone.stop().await;
    let told = vm.next().await.unwrap();
    assert!(matches!(told, Some(Kind::GoAway(away)) if away.reconnect));
    assert_eq!(
        vm.refusal().await,
        (tonic::Code::Unavailable, "DRAINING".to_owned())
    );
}
