//! Many simulated harnesses on one replica, on the real API server.

use std::collections::BTreeMap;
use std::time::Duration;

use autoregistration::args::CommandLine;
use autoregistration::cluster::Cluster as Replica;
use clap::Parser as _;
use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::ApiResource;
use lab::apiserver::ApiServer;
use linkerd_harness_api::v1::health_report::State;
use load::{Fleet, Plan};
use serde_json::json;

use crate::cluster::Cluster;

const VMS: u32 = 500;
const NAMESPACE: &str = "load";
/// Far more often than in life, so that a test sees many of them. Not so often that a stream has said too much.
const HEARTBEAT: Duration = Duration::from_millis(500);
const DEADLINE: Duration = Duration::from_secs(90);
const GROUP: &str = "{apiVersion: workload.buoyant.io/v1alpha1, kind: ExternalGroup, metadata: {name: load}, \
     spec: {template: {ports: [{port: 80}]}}}";

/// A cluster of its own, in which Linkerd is installed as far as we look.
async fn prepare(server: &ApiServer) -> Cluster {
    let cluster = Cluster::at(server).await;
    let workloads = include_str!("externalworkloads.yaml");
    for definition in [
        autoregistration::crd::external_group(),
        serde_norway::from_str(workloads).unwrap(),
    ] {
        cluster.install(&definition).await;
    }
    cluster.namespace("linkerd").await;
    cluster.namespace(NAMESPACE).await;
    let key = rcgen::KeyPair::generate().unwrap();
    let anchor = rcgen::CertificateParams::new(vec!["root.linkerd".to_owned()]).unwrap();
    let anchor = anchor.self_signed(&key).unwrap().pem();
    for (name, key, text) in [
        ("linkerd-config", "values", "clusterDomain: cluster.local\n"),
        ("linkerd-identity-trust-roots", "ca-bundle.crt", &anchor),
    ] {
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name }, "data": { key: text },
        });
        let all = Api::<k8s_openapi::api::core::v1::ConfigMap>::namespaced(
            cluster.client.clone(),
            "linkerd",
        );
        let (params, patch) = (PatchParams::apply("test"), Patch::Apply(object));
        drop(all.patch(name, &params, &patch).await.unwrap());
    }
    drop(cluster.create(NAMESPACE, GROUP).await.unwrap());
    cluster
}

async fn replica(server: &ApiServer) -> Replica {
    let kubeconfig = server.kubeconfig();
    let args = [
        "autoregistration",
        "--kubeconfig",
        kubeconfig.to_str().unwrap(),
        "--namespace=default",
        "--registration-listen=127.0.0.1:0",
        "--peer-listen=127.0.0.1:0",
        "--admin-listen=127.0.0.1:0",
        "--writes-per-second=1000",
    ];
    let args = CommandLine::try_parse_from(args).unwrap().args;
    tokio::time::timeout(DEADLINE, Replica::start(args))
        .await
        .unwrap()
        .unwrap()
}

/// Version and readiness of every workload.
async fn workloads(cluster: &Cluster) -> BTreeMap<String, (String, bool)> {
    let kind = ApiResource::erase::<autoregistration::crd::ExternalWorkload>(&());
    let all = Api::<DynamicObject>::namespaced_with(cluster.client.clone(), NAMESPACE, &kind);
    let list = all.list(&ListParams::default()).await.unwrap();
    let is_ready = |it: &DynamicObject| {
        it.data
            .pointer("/status/conditions/0/status")
            .is_some_and(|status| status == "True")
    };
    let all = list.items.into_iter().map(|it| {
        let ready = is_ready(&it);
        let metadata = it.metadata;
        (
            metadata.name.unwrap(),
            (metadata.resource_version.unwrap(), ready),
        )
    });
    all.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_vms_become_ready_and_their_heartbeats_write_nothing() {
    let server = tokio::task::spawn_blocking(|| ApiServer::start().unwrap());
    let server = server.await.unwrap();
    let cluster = prepare(&server).await;
    let replica = replica(&server).await;
    let fleet = Fleet::start(&Plan {
        address: replica.addresses.registration,
        vms: VMS,
        connections: 10,
        group: (NAMESPACE.to_owned(), "load".to_owned()),
        trust_domain: "root.linkerd.cluster.local".to_owned(),
        first: 1,
        over: Duration::ZERO,
        heartbeat: Some(HEARTBEAT),
    })
    .unwrap();
    fleet.until_settled(DEADLINE).await.unwrap();
    let joined = fleet.seen().counts();
    // A few more than come at once are asked to come again.
    let mut refused = joined.refused.clone();
    refused.remove("RATE_LIMITED");
    assert!(refused.is_empty(), "{joined:#?}");
    assert_eq!(joined.assigned, u64::from(VMS));

    let before = workloads(&cluster).await;
    assert_eq!(before.len(), VMS as usize);
    assert!(before.values().all(|(_, ready)| *ready), "{before:#?}");
    let enough = joined.heartbeats + 5 * u64::from(VMS);
    fleet
        .until("five heartbeats of every VM", DEADLINE, |counts| {
            counts.heartbeats >= enough
        })
        .await
        .unwrap();
    assert_eq!(workloads(&cluster).await, before);
    let counts = fleet.seen().counts();
    assert_eq!(
        (counts.assigned, &counts.refused, &counts.sent_away),
        (joined.assigned, &joined.refused, &joined.sent_away)
    );

    // What is seen here would be seen there.
    fleet.report(0, State::Unhealthy);
    fleet.until_settled(DEADLINE).await.unwrap();
    let after = workloads(&cluster).await;
    let unready = after.values().filter(|(_, ready)| !ready).count();
    let written = before.iter().filter(|(name, it)| after[*name] != **it);
    assert_eq!((unready, written.count()), (1, 1));
}
