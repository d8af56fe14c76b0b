//! An address belongs to one workload, of all namespaces; and of two families one is told of.

use std::cell::Cell;
use std::time::Duration;

use autoregistration::crd::ExternalWorkload;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use linkerd_harness_api::v1::controller_message::Kind;
use linkerd_harness_api::v1::health_report::State;
use serde_json::json;

use super::mesh::{GROUP, until};
use super::replica::Plan;
use super::vm::name;
use super::{Mesh, Vm};
use crate::cluster::Cluster;

const ELSEWHERE: &str = "elsewhere";

#[tokio::test]
async fn an_address_of_a_live_workload_is_nobody_else_s_in_whatever_namespace() {
    let server = tokio::task::spawn_blocking(|| lab::apiserver::ApiServer::start().unwrap());
    let server = server.await.unwrap();
    let cluster = Cluster::at(&server).await;
    let mesh = Mesh::on(server, &cluster).await;
    cluster.namespace(ELSEWHERE).await;
    let group = "{apiVersion: workload.buoyant.io/v1alpha1, kind: ExternalGroup, metadata: {name: training-vm}, \
                 spec: {template: {ports: [{port: 80}]}}}";
    cluster.create(ELSEWHERE, group).await.unwrap();
    // What somebody has made by hand for a machine without a harness.
    let by_hand: ExternalWorkload = serde_json::from_value(json!({
        "apiVersion": "workload.linkerd.io/v1beta1", "kind": "ExternalWorkload", "metadata": { "name": "by-hand" },
        "spec": { "meshTLS": { "identity": "spiffe://a/b", "serverName": "a.b" }, "workloadIPs": [{ "ip": "10.77.0.9" }] },
    }))
    .unwrap();
    let others = Api::<ExternalWorkload>::namespaced(mesh.client.clone(), ELSEWHERE);
    let made = others.create(&PostParams::default(), &by_hand).await;
    drop(made.unwrap());

    let replica = Plan::new(&mesh, 1).start().await;
    let addr = replica.registration();
    let (mut session, workload) = Vm::new(1).join_well(addr).await;
    let before = mesh.versions().await;
    let (mut same, mut abroad, mut ninth) = (Vm::new(2), Vm::new(3), Vm::new(9));
    same.hello.ips = vec!["10.77.0.1".to_owned()];
    // The same address in other words.
    abroad.hello.ips = vec!["::ffff:10.77.0.1".to_owned()];
    abroad.hello.group.as_mut().unwrap().namespace = ELSEWHERE.to_owned();
    for vm in [&mut same, &mut abroad, &mut ninth] {
        assert_eq!(vm.is_refused(addr).await, "ADDRESS_IN_USE");
    }
    assert_eq!(mesh.versions().await, before);
    let there = others.list(&kube::api::ListParams::default()).await;
    assert_eq!(there.unwrap().items.len(), 1);
    assert!(session.heard_nothing());

    // The holder has another address now, so this one is free.
    let mut moved = Vm::new(1);
    moved.hello.ips = vec!["10.77.0.7".to_owned()];
    moved.hello.stream_seq = 1;
    let _moved = moved.join(addr).await;
    let at_its_new = |workload: &ExternalWorkload, _: &str| {
        workload.spec.workload_ips.as_ref().unwrap()[0].ip == "10.77.0.7"
    };
    mesh.comes_to_be(&workload, "it has moved", at_its_new)
        .await;
    let (_session, taken) = same.join_well(addr).await;
    let (it, _) = mesh.is_ready(&taken, "True").await;
    assert_eq!(it.spec.workload_ips.unwrap()[0].ip, "10.77.0.1");

    // So is that of an object that is gone. Each try is a machine of its own: of one, only so many are heard.
    let deleted = others.delete("by-hand", &DeleteParams::default()).await;
    drop(deleted.unwrap());
    let number = Cell::new(100);
    until("its address is free", async || {
        number.set(number.get() + 1);
        let mut vm = Vm::new(number.get());
        vm.hello.ips = vec!["10.77.0.9".to_owned()];
        let mut session = vm.open(addr).await.ok()?;
        let is_in = |heard| match heard {
            Ok(Kind::Assignment(_)) => Some(true),
            Err(_) => Some(false),
            Ok(_) => None,
        };
        session
            .hears("assignment or end", is_in)
            .await
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_address_of_a_vm_that_is_dead_is_another_s_when_its_workload_is_gone() {
    let mesh = Mesh::start().await;
    let plan = Plan::new(&mesh, 1).grace(Duration::from_secs(1));
    let replica = plan.start().await;
    let (session, dead) = Vm::new(1).join_well(replica.registration()).await;
    drop(session);
    mesh.is_ready(&dead, "Unknown").await;
    let mut heir = Vm::new(2);
    heir.hello.ips = vec!["10.77.0.1".to_owned()];
    let mut session = heir.open(replica.registration()).await.unwrap();
    assert_eq!(session.pending().await, "ADDRESS_IN_USE");
    let told = session.assignment().await;
    assert_ne!(name(&told), dead);
    let names = mesh.all().await.into_keys().collect::<Vec<_>>();
    assert_eq!(names, [name(&told)], "of two, Linkerd would serve neither");
}

#[tokio::test]
async fn of_a_vm_with_addresses_of_both_families_the_mesh_is_told_one() {
    let mesh = Mesh::start().await;
    let replica = Plan::new(&mesh, 1).start().await;
    let mut vm = Vm::new(1);
    vm.hello.ips = vec!["fd00::1".to_owned(), "10.77.0.1".to_owned()];
    vm.hello.proxy_inbound_port = 5143;
    let (mut session, told) = vm.join(replica.registration()).await;
    let (made, _) = mesh.workload(&name(&told)).await;
    let ips = made.spec.workload_ips.unwrap();
    assert_eq!(ips.len(), 1, "{ips:?}");
    assert_eq!(ips[0].ip, "10.77.0.1");
    assert_eq!(told.workload.unwrap().ips, ["10.77.0.1"]);
    // Where its proxy does not listen on the usual port, Linkerd is told so by this name.
    let ports = made.spec.ports.unwrap();
    let proxy = ports
        .iter()
        .find(|port| port.name.as_deref() == Some("linkerd-proxy"));
    assert_eq!(proxy.map(|port| port.port), Some(5143));
    session.reports(State::Healthy).await;

    // Outside of `clusterNetworks`, where proxies ask for no identity: peers would speak in the clear to it.
    let mut only_six = Vm::new(2);
    only_six.hello.ips = vec!["fd00::2".to_owned()];
    let refused = only_six.is_refused(replica.registration()).await;
    assert_eq!(refused, "ADDRESS_NOT_ALLOWED");

    // A name that would be another one's in the mesh is not taken from the group.
    let patch = Patch::Merge(
        json!({ "spec": { "template": { "ports": [{ "name": "linkerd-proxy", "port": 1 }] } } }),
    );
    let refused = mesh
        .groups()
        .patch(GROUP, &PatchParams::default(), &patch)
        .await;
    assert!(refused.is_err());
}
