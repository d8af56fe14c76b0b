//! What proxies are told of the VMs, by Linkerd's own controllers or the STAND-IN that the test says it ran with.

use std::net::SocketAddr;

use autoregistration::crd::ExternalWorkload;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use linkerd_harness_api::v1::health_report::State;
use linkerd_harness_api::v1::leave::Mode;
use serde_json::{Value, json};

use super::controllers::SERVICE;
use super::mesh::{GROUP, NAMESPACE, until};
use super::replica::{Plan, TTL};
use super::stream::policy;
use super::vm::name;
use super::{Linkerd, Stream, Vm};

/// Where a VM of this number serves.
fn at(number: u8) -> SocketAddr {
    SocketAddr::from(([10, 77, 0, number], 80))
}

/// Linkerd's own has said nothing that an operator would have to look after.
fn nothing_went_wrong(linkerd: &Linkerd) {
    assert_eq!(linkerd.errors(), Vec::<String>::new());
    let skipped = linkerd.policy_log();
    let mut skipped = skipped
        .lines()
        .filter(|line| line.contains("skipping invalid"));
    assert_eq!(skipped.next(), None);
}

#[tokio::test]
async fn a_vm_is_an_endpoint_while_it_is_well_and_only_then() {
    let linkerd = Linkerd::start().await;
    let replica = Plan::new(&linkerd, 1).start().await;
    let mut stream = Stream::open(&linkerd).await;
    let mut vm = Vm::new(1);
    let (mut session, assignment) = vm.join(replica.registration()).await;
    let workload = name(&assignment);
    let told = assignment.workload.unwrap();
    // Its proxy asks before it is started.
    assert!(policy(&linkerd, &workload, 80).await.protocol.is_some());

    session.reports(State::Healthy).await;
    let endpoint = stream.adds().await;
    assert_eq!(endpoint.addr, at(1));
    assert_eq!(endpoint.uri, vm.identity);
    assert_eq!(endpoint.server_name, told.server_name);
    assert_eq!(endpoint.labels["external_workload"], workload);
    assert_eq!(endpoint.labels["externalgroup"], GROUP);
    assert_eq!(endpoint.labels["zone"], "zone-a");
    assert_eq!(
        (endpoint.inbound_port, endpoint.opaque),
        (Some(4143), false)
    );

    session.reports(State::Unhealthy).await;
    stream.removes(at(1)).await;
    // It fell a moment ago, so it is held for a while.
    session.says(State::Healthy).await;
    assert_eq!(stream.adds().await, endpoint);

    session.leaves(Mode::Remove).await;
    assert_eq!(session.end().await, None);
    stream.removes(at(1)).await;
    linkerd.is_gone(&workload).await;
    nothing_went_wrong(&linkerd);
}

#[tokio::test]
async fn a_vm_with_another_address_is_moved_on_streams_that_are_open() {
    let linkerd = Linkerd::start().await;
    let replica = Plan::new(&linkerd, 1).start().await;
    let mut stream = Stream::open(&linkerd).await;
    let mut vm = Vm::new(1);
    let (mut session, _) = vm.join_well(replica.registration()).await;
    let before = stream.adds().await;

    session.moves_to("10.77.0.41").await;
    stream.removes(at(1)).await;
    let moved = stream.adds().await;
    assert_eq!(moved.addr, at(41));
    assert_eq!(moved.server_name, before.server_name);

    // The same by a new stream of another process.
    let mut vm = vm.restarted();
    vm.hello.ips = vec!["10.77.0.42".to_owned()];
    drop(session);
    let (_session, _) = vm.join(replica.registration()).await;
    stream.removes(at(41)).await;
    assert_eq!(stream.adds().await.addr, at(42));
    nothing_went_wrong(&linkerd);
}

/// Why a replica makes a workload not ready before it changes its address.
#[tokio::test]
async fn of_an_address_that_is_edited_in_place_open_streams_hear_nothing() {
    let linkerd = Linkerd::start().await;
    let mut stream = Stream::open(&linkerd).await;
    by_hand(&linkerd, "by-hand", "10.77.0.1").await;
    assert_eq!(stream.adds().await.addr, at(1));
    let edit = Patch::Merge(json!({ "spec": { "workloadIPs": [{ "ip": "10.77.0.9" }] } }));
    let params = PatchParams::default();
    let workloads = linkerd.workloads();
    drop(workloads.patch("by-hand", &params, &edit).await.unwrap());
    until("the address is in the slice", || async {
        slices(&linkerd).await.contains("10.77.0.9").then_some(())
    })
    .await;
    assert_eq!(Stream::open(&linkerd).await.adds().await.addr, at(9));

    // Nothing has come before what happens next.
    by_hand(&linkerd, "another", "10.77.0.2").await;
    assert_eq!(stream.adds().await.addr, at(2));
    // What is removed then is an address that the stream has never heard of; the old one stays with its proxy.
    ready(&linkerd, "by-hand", "False").await;
    stream.removes(at(9)).await;
}

/// Why a replica makes a workload not ready before it deletes it.
#[tokio::test]
async fn of_a_workload_that_is_deleted_while_it_is_ready_open_streams_hear_nothing() {
    let linkerd = Linkerd::start().await;
    let mut stream = Stream::open(&linkerd).await;
    by_hand(&linkerd, "by-hand", "10.77.0.1").await;
    assert_eq!(stream.adds().await.addr, at(1));
    let params = DeleteParams::default();
    let deleted = linkerd.workloads().delete("by-hand", &params).await;
    drop(deleted.unwrap());
    until("the address is in no slice", || async {
        let slices = slices(&linkerd).await;
        (!slices.contains("10.77.0.1")).then_some(())
    })
    .await;
    by_hand(&linkerd, "another", "10.77.0.2").await;
    assert_eq!(stream.adds().await.addr, at(2), "and nothing before");
}

#[tokio::test]
async fn a_vm_that_dies_is_removed_after_the_grace_and_back_as_it_was() {
    let linkerd = Linkerd::start().await;
    let replicas = linkerd.three(|plan| plan.ttl(TTL)).await;
    let mut stream = Stream::open(&linkerd).await;
    let mut vm = Vm::new(1);
    let (session, workload) = vm.join_well(replicas[1].registration()).await;
    let before = stream.adds().await;
    drop(session);
    stream.removes(at(1)).await;
    let mut vm = vm.restarted();
    let (session, _) = vm.join(replicas[2].registration()).await;
    assert_eq!(stream.adds().await, before);

    // Away for its whole time it is removed once, and its object later.
    drop(session);
    stream.removes(at(1)).await;
    linkerd.is_gone(&workload).await;
    let (_session, _) = Vm::new(2).join_well(replicas[1].registration()).await;
    assert_eq!(stream.adds().await.addr, at(2));
    nothing_went_wrong(&linkerd);
}

#[tokio::test]
async fn a_group_that_is_deleted_has_no_endpoints_until_it_is_made_again() {
    let linkerd = Linkerd::start().await;
    let replica = Plan::new(&linkerd, 1).start().await;
    let mut stream = Stream::open(&linkerd).await;
    let (mut session, workload) = Vm::new(1).join_well(replica.registration()).await;
    let before = stream.adds().await;
    let deleted = linkerd
        .groups()
        .delete(GROUP, &DeleteParams::default())
        .await;
    drop(deleted.unwrap());
    stream.removes(at(1)).await;
    assert_eq!(session.pending().await, "GROUP_NOT_FOUND");
    linkerd.is_gone(&workload).await;

    linkerd.group(json!({})).await;
    drop(session.assignment().await);
    session.says(State::Healthy).await;
    assert_eq!(stream.adds().await, before);
    nothing_went_wrong(&linkerd);
}

#[tokio::test]
async fn proxies_notice_nothing_of_replicas_that_are_restarted_or_killed() {
    let linkerd = Linkerd::start().await;
    let mut replicas = linkerd.three(|plan| plan).await;
    let mut stream = Stream::open(&linkerd).await;
    let mut vm = Vm::new(1);
    let (mut session, _) = vm.join_well(replicas[0].registration()).await;
    let before = linkerd.versions().await;
    assert_eq!(stream.adds().await.addr, at(1));
    for graceful in [true, false] {
        let gone = replicas.remove(0);
        let name = gone.name.clone();
        if graceful {
            let ((), told) = tokio::join!(gone.stop(), session.sent_away());
            assert_eq!(told, None);
        } else {
            gone.kill();
            drop(session.end().await);
        }
        linkerd.unlist(&name).await;
        (session, _) = vm.join(replicas[0].registration()).await;
        assert_ne!(linkerd.leader(&name).await, name);
    }
    assert_eq!(linkerd.versions().await, before);
    let (_other, _) = Vm::new(2).join_well(replicas[0].registration()).await;
    assert_eq!(stream.adds().await.addr, at(2), "and nothing before");
    nothing_went_wrong(&linkerd);
}

#[tokio::test]
async fn a_label_or_a_port_that_the_group_gets_is_what_proxies_are_told() {
    let linkerd = Linkerd::start().await;
    let replica = Plan::new(&linkerd, 1).start().await;
    let mut stream = Stream::open(&linkerd).await;
    let mut vm = Vm::new(1);
    let (_session, workload) = vm.join_well(replica.registration()).await;
    assert_eq!(stream.adds().await.addr, at(1));

    // A label that no Service selects by is nothing to proxies.
    linkerd
        .group(json!({ "template": { "metadata": { "labels": { "tier": "back" } } } }))
        .await;
    let labelled = |it: &ExternalWorkload, _: &str| it.labels().contains_key("tier");
    linkerd
        .comes_to_be(&workload, "it has the label", labelled)
        .await;
    // A port is: it is the address's.
    linkerd
        .group(json!({ "template": { "ports": [{ "name": "http", "port": 8080 }] } }))
        .await;
    stream.removes(at(1)).await;
    let moved = SocketAddr::new(at(1).ip(), 8080);
    assert_eq!(stream.adds().await.addr, moved);
    // So is whether its protocol is detected.
    let opaque = json!({ "config.linkerd.io/opaque-ports": "8080" });
    linkerd
        .group(json!({ "template": {
            "ports": [{ "name": "http", "port": 8080 }],
            "metadata": { "annotations": opaque },
        } }))
        .await;
    stream.removes(moved).await;
    assert!(stream.adds().await.opaque);
    // An annotation is nothing to the one that writes slices, who complains of each write without a use to it.
    let errors = linkerd.errors();
    let useless = |line: &String| line.contains("nothing has changed");
    assert!(
        errors.len() <= 1 && errors.iter().all(useless),
        "{errors:?}"
    );
}

/// A workload behind the Service that is nobody's of ours, and ready.
async fn by_hand(linkerd: &Linkerd, name: &str, ip: &str) {
    let spec = json!({
        "metadata": { "labels": { "app": "training" } },
        "spec": {
            "meshTLS": { "identity": "spiffe://root.linkerd.cluster.local/a", "serverName": format!("{name}.example") },
            "ports": [{ "name": "http", "port": 80 }],
            "workloadIPs": [{ "ip": ip }],
        },
    });
    linkerd.put::<ExternalWorkload>(NAMESPACE, name, spec).await;
    ready(linkerd, name, "True").await;
}

async fn ready(linkerd: &Linkerd, name: &str, status: &str) {
    let conditions: Value = json!([{ "type": "Ready", "status": status, "reason": "ByHand" }]);
    let edit = Patch::Merge(json!({ "status": { "conditions": conditions } }));
    let workloads = linkerd.workloads();
    let params = PatchParams::default();
    drop(workloads.patch_status(name, &params, &edit).await.unwrap());
}

/// The endpoints of the Service, as text.
async fn slices(linkerd: &Linkerd) -> String {
    let slices = Api::<EndpointSlice>::namespaced(linkerd.client.clone(), NAMESPACE);
    let those = ListParams::default().labels(&format!("kubernetes.io/service-name={SERVICE}"));
    let slices = slices.list(&those).await.unwrap();
    let endpoints = slices.items.iter().map(|slice| &slice.endpoints);
    format!("{:?}", endpoints.collect::<Vec<_>>())
}
