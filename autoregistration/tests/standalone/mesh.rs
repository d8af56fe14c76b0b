//! Linkerd's APIs answer from what was registered.

use linkerd_harness_api::v1;
use linkerd2_proxy_api::destination::GetDestination;
use linkerd2_proxy_api::destination::destination_client::DestinationClient;
use linkerd2_proxy_api::destination::update::Update;

use crate::lab::{DEADLINE, Lab};
use crate::pki::{AUTOREGISTRATION, DESTINATION};
use crate::vm::{Session, channel, hello};

#[tokio::test]
async fn a_ready_vm_is_an_endpoint_of_its_service_and_one_that_leaves_is_not() {
    let lab = Lab::start().await;
    let (root, leaf) = (&lab.files.root, lab.files.root.vm());
    let addresses = lab.standalone.addresses;
    let destination = channel(addresses.destination, DESTINATION, root, Some(&leaf)).await;
    let question = GetDestination {
        path: "training-vm.training.svc.cluster.local:80".to_owned(),
        ..GetDestination::default()
    };
    let mut client = DestinationClient::new(destination.unwrap());
    let mut updates = client.get(question).await.unwrap().into_inner();

    let registration = channel(addresses.registration, AUTOREGISTRATION, root, Some(&leaf)).await;
    let mut vm = Session::open(registration.unwrap(), hello()).await.unwrap();
    vm.assignment().await;
    vm.report(2, v1::health_report::State::Healthy).await;
    let mut next = async || {
        let update = tokio::time::timeout(DEADLINE, updates.message()).await;
        update.unwrap().unwrap().unwrap().update.unwrap()
    };
    let mut update = next().await;
    while matches!(update, Update::NoEndpoints(_)) {
        update = next().await;
    }
    assert!(
        matches!(&update, Update::Add(set) if set.addrs.len() == 1),
        "{update:?}"
    );
    vm.report(3, v1::health_report::State::Draining).await;
    let update = next().await;
    assert!(
        matches!(update, Update::Remove(_) | Update::NoEndpoints(_)),
        "{update:?}"
    );
}
