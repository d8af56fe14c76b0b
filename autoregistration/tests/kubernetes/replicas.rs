//! Who the other replicas are, by the endpoints of a Service on a real API server.

use std::sync::Arc;

use autoregistration::kubernetes::metrics::Metrics;
use autoregistration::kubernetes::peers::{Roster, Wanted, Watch};
use autoregistration::peer::census::Answer;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::cluster::{Cluster, DEADLINE};

fn slice(name: &str, service: &str, endpoints: &Value) -> EndpointSlice {
    serde_json::from_value(json!({
        "metadata": { "name": name, "labels": { "kubernetes.io/service-name": service } },
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": [{ "name": "peers", "port": 8082 }],
    }))
    .unwrap()
}

async fn comes_to_be(roster: &mut watch::Receiver<Arc<Roster>>, expected: &[(&str, Answer)]) {
    let expected = expected
        .iter()
        .map(|(addr, answer)| (addr.parse().unwrap(), *answer))
        .collect::<Roster>();
    let met = roster.wait_for(|roster| **roster == expected);
    let met = tokio::time::timeout(DEADLINE, met).await.is_ok();
    assert!(met, "{:?} is not {expected:?}", roster.borrow());
}

#[tokio::test]
async fn replicas_that_come_and_go_are_followed() {
    let cluster = Cluster::shared().await;
    cluster.namespace("replicas").await;
    let slices = Api::<EndpointSlice>::namespaced(cluster.client.clone(), "replicas");
    let create = async |slice: EndpointSlice| {
        drop(slices.create(&PostParams::default(), &slice).await.unwrap());
    };
    let ours = json!([{ "addresses": ["10.0.0.1"] }, { "addresses": ["10.0.0.2"] }]);
    create(slice("a", "peers", &ours)).await;
    create(slice(
        "b",
        "another",
        &json!([{ "addresses": ["10.0.0.9"] }]),
    ))
    .await;
    let wanted = Wanted {
        namespace: "replicas".to_owned(),
        service: "peers".to_owned(),
        own: ["10.0.0.1".parse().unwrap()].into(),
        port: 1,
    };
    let (watch, mut roster) = Watch::load(cluster.client.clone(), wanted, Metrics::default()).await;
    let watching = tokio::spawn(watch.run());
    let second = ("10.0.0.2:8082", Answer::Needed);
    comes_to_be(&mut roster, &[second]).await;

    let third = json!([{ "addresses": ["10.0.0.3"], "conditions": { "ready": false } }]);
    create(slice("c", "peers", &third)).await;
    comes_to_be(&mut roster, &[second, ("10.0.0.3:8082", Answer::Welcome)]).await;
    let ready = json!([{ "addresses": ["10.0.0.3"], "conditions": { "ready": true } }]);
    let patch = Patch::Merge(json!({ "endpoints": ready }));
    drop(
        slices
            .patch("c", &PatchParams::default(), &patch)
            .await
            .unwrap(),
    );
    let third = ("10.0.0.3:8082", Answer::Needed);
    comes_to_be(&mut roster, &[second, third]).await;
    drop(slices.delete("a", &DeleteParams::default()).await.unwrap());
    comes_to_be(&mut roster, &[third]).await;
    watching.abort();
}

#[tokio::test]
async fn a_service_without_endpoints_means_no_other_replica() {
    let cluster = Cluster::shared().await;
    cluster.namespace("no-replicas").await;
    let wanted = Wanted {
        namespace: "no-replicas".to_owned(),
        service: "peers".to_owned(),
        own: ["10.0.0.1".parse().unwrap()].into(),
        port: 1,
    };
    let (_watch, roster) = Watch::load(cluster.client.clone(), wanted, Metrics::default()).await;
    assert!(roster.borrow().is_empty());
}
