//! Events, as a person reads them from a real API server.

use std::time::Duration;

use autoregistration::kubernetes::events::{Kind, Reason, Regarding, events};
use autoregistration::metrics::Metrics;
use k8s_openapi::api::events::v1::Event;
use kube::api::{Api, ListParams};

use crate::cluster::{Cluster, DEADLINE};

async fn come_to_be(api: &Api<Event>, enough: impl Fn(&[Event]) -> bool) -> Vec<Event> {
    let looking = async {
        loop {
            let list = api.list(&ListParams::default()).await.unwrap();
            if enough(&list.items) {
                return list.items;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(DEADLINE, looking).await.unwrap()
}

fn regarding(name: &str) -> Regarding {
    Regarding {
        kind: Kind::Workload,
        namespace: "events".to_owned(),
        name: name.to_owned(),
        uid: "4d1cbb43-0f4a-4f1e-9d65-1f2ab14c0001".to_owned(),
    }
}

#[tokio::test]
async fn an_event_appears_once_and_one_that_repeats_is_counted() {
    let cluster = Cluster::shared().await;
    cluster.namespace("events").await;
    let api = Api::<Event>::namespaced(cluster.client.clone(), "events");
    let (sender, publisher) = events(cluster.client.clone(), "pod-1", Metrics::default());
    let publishing = tokio::spawn(publisher.run());
    for _ in 0..100 {
        sender.publish(
            regarding("vm-1"),
            Reason::ProbeFailed,
            "port 80 refuses connections",
        );
    }
    // Comes after all of the above.
    sender.publish(regarding("vm-2"), Reason::Ready, "its probe succeeds");
    let found = come_to_be(&api, |found| {
        found
            .iter()
            .any(|event| event.reason.as_deref() == Some("Ready"))
    });
    let found = found.await;
    assert_eq!(found.len(), 2, "{found:?}");
    let failed = found
        .iter()
        .find(|event| event.reason.as_deref() == Some("ProbeFailed"))
        .unwrap();
    assert_eq!(failed.type_.as_deref(), Some("Warning"));
    assert_eq!(failed.note.as_deref(), Some("port 80 refuses connections"));
    assert_eq!(failed.reporting_instance.as_deref(), Some("pod-1"));
    let about = failed.regarding.as_ref().unwrap();
    assert_eq!(about.kind.as_deref(), Some("ExternalWorkload"));
    assert_eq!(
        about.api_version.as_deref(),
        Some("workload.linkerd.io/v1beta1")
    );
    assert_eq!(about.name.as_deref(), Some("vm-1"));
    drop(sender);
    // Who publishes is gone.
    tokio::time::timeout(DEADLINE, publishing)
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn the_same_event_a_minute_later_is_a_count_and_no_other_object() {
    let cluster = Cluster::shared().await;
    cluster.namespace("events-again").await;
    let api = Api::<Event>::namespaced(cluster.client.clone(), "events-again");
    let (sender, publisher) = events(cluster.client.clone(), "pod-1", Metrics::default());
    let publishing = tokio::spawn(publisher.run());
    let vm = Regarding {
        namespace: "events-again".to_owned(),
        ..regarding("vm-1")
    };
    sender.publish(
        vm.clone(),
        Reason::ProbeFailed,
        "port 80 refuses connections",
    );
    come_to_be(&api, |found| found.len() == 1).await;
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(60)).await;
    tokio::time::resume();
    sender.publish(vm, Reason::ProbeFailed, "port 80 refuses connections");
    let counted = |found: &[Event]| found.iter().any(|event| event.series.is_some());
    let found = come_to_be(&api, counted).await;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].series.as_ref().unwrap().count, 2);
    publishing.abort();
}
