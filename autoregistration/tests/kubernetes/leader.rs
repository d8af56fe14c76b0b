//! Who leads, by a Lease on a real API server.

use std::time::Duration;

use autoregistration::kubernetes::leader::{Leader, Leadership, Timing};
use autoregistration::metrics::Metrics;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, DeleteParams, PostParams};
use lab::apiserver::ApiServer;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::cluster::{Cluster, DEADLINE};

/// Short, so that a test need not wait long for a lease to run out.
const SHORT: Timing = Timing {
    lease: Duration::from_secs(3),
    renew: Duration::from_secs(2),
    retry: Duration::from_millis(200),
};
/// So long that no test sees its end.
const LONG: Timing = Timing {
    lease: Duration::from_secs(50),
    renew: Duration::from_secs(40),
    retry: Duration::from_millis(200),
};

struct Candidate {
    leadership: Leadership,
    task: JoinHandle<()>,
    stop: Option<oneshot::Sender<()>>,
}

impl Candidate {
    fn start(cluster: &Cluster, namespace: &str, replica: &str, timing: Timing) -> Self {
        let client = cluster.client.clone();
        let (leader, leadership) = Leader::new(
            client,
            namespace,
            "linkerd-autoregistration",
            replica,
            timing,
            Metrics::default(),
        );
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(leader.run(async {
            drop(stopped.await);
        }));
        Self {
            leadership,
            task,
            stop: Some(stop),
        }
    }

    async fn comes_to(&self, leads: bool) {
        let mut told = self.leadership.told();
        let came = tokio::time::timeout(DEADLINE, told.wait_for(|told| *told == leads)).await;
        came.unwrap().unwrap();
    }

    async fn stop(mut self) {
        drop(self.stop.take());
        tokio::time::timeout(DEADLINE, &mut self.task)
            .await
            .unwrap()
            .unwrap();
        assert!(!self.leadership.holds());
    }

    async fn die(mut self) {
        self.task.abort();
        drop((&mut self.task).await);
    }
}

impl Drop for Candidate {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A Lease that was given up, so that the first candidate need not wait.
async fn released(cluster: &Cluster, namespace: &str) -> Api<Lease> {
    cluster.namespace(namespace).await;
    let leases = Api::<Lease>::namespaced(cluster.client.clone(), namespace);
    let lease = serde_json::from_value(serde_json::json!({
        "metadata": { "name": "linkerd-autoregistration", "labels": { "kept": "yes" } },
        "spec": {},
    }));
    let (parameters, lease) = (PostParams::default(), lease.unwrap());
    drop(leases.create(&parameters, &lease).await.unwrap());
    leases
}

async fn holder(leases: &Api<Lease>) -> String {
    let lease = leases.get("linkerd-autoregistration").await.unwrap();
    let spec = lease.spec.unwrap();
    spec.holder_identity.unwrap_or_default()
}

#[tokio::test]
async fn one_of_two_leads_and_when_it_dies_the_other_does_after_the_lease() {
    let cluster = Cluster::shared().await;
    let leases = released(&cluster, "leader-dies").await;
    let first = Candidate::start(&cluster, "leader-dies", "first", SHORT);
    first.comes_to(true).await;
    let second = Candidate::start(&cluster, "leader-dies", "second", SHORT);
    // Long enough for two renewals and a look.
    tokio::time::sleep(SHORT.lease).await;
    assert!(first.leadership.holds());
    assert!(!second.leadership.holds());
    assert!(holder(&leases).await.starts_with("first_"));

    let before = first.leadership.clone();
    first.die().await;
    second.comes_to(true).await;
    // Nobody has told it, and yet it knows.
    assert!(*before.told().borrow());
    assert!(!before.holds());
    let lease = leases.get("linkerd-autoregistration").await.unwrap();
    assert_eq!(lease.metadata.labels.unwrap()["kept"], "yes");
    let spec = lease.spec.unwrap();
    assert!(spec.holder_identity.unwrap().starts_with("second_"));
    assert_eq!(spec.lease_transitions, Some(2));
    assert_eq!(spec.lease_duration_seconds, Some(3));
    second.stop().await;
}

#[tokio::test]
async fn a_leader_that_stops_gives_the_lease_to_the_next_at_once() {
    let cluster = Cluster::shared().await;
    let leases = released(&cluster, "leader-stops").await;
    let first = Candidate::start(&cluster, "leader-stops", "first", LONG);
    first.comes_to(true).await;
    let second = Candidate::start(&cluster, "leader-stops", "second", LONG);
    let began = tokio::time::Instant::now();
    first.stop().await;
    second.comes_to(true).await;
    assert!(began.elapsed() < LONG.lease, "it waited for the lease");
    second.stop().await;
    assert_eq!(holder(&leases).await, "");
}

#[tokio::test]
async fn a_lease_that_somebody_deletes_is_made_again_by_its_holder() {
    let cluster = Cluster::shared().await;
    let leases = released(&cluster, "leader-deleted").await;
    let first = Candidate::start(&cluster, "leader-deleted", "first", LONG);
    first.comes_to(true).await;
    let mut told = first.leadership.told();
    told.mark_unchanged();
    let parameters = DeleteParams::default();
    let deleted = leases.delete("linkerd-autoregistration", &parameters);
    drop(deleted.await.unwrap());
    let again = async {
        while leases
            .get_opt("linkerd-autoregistration")
            .await
            .unwrap()
            .is_none()
        {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(DEADLINE, again).await.unwrap();
    assert!(holder(&leases).await.starts_with("first_"));
    assert!(first.leadership.holds());
    assert!(!told.has_changed().unwrap());
    first.stop().await;
}

#[tokio::test]
async fn a_leader_without_an_api_server_steps_down_and_leads_again_when_it_is_back() {
    let server = tokio::task::spawn_blocking(|| ApiServer::start().unwrap());
    let mut server = server.await.unwrap();
    let cluster = Cluster::at(&server).await;
    drop(released(&cluster, "leader-away").await);
    let leader = Candidate::start(&cluster, "leader-away", "only", SHORT);
    leader.comes_to(true).await;
    server.kill();
    leader.comes_to(false).await;
    assert!(!leader.leadership.holds());
    let server = tokio::task::spawn_blocking(move || {
        server.restart().unwrap();
        server
    });
    let _server = server.await.unwrap();
    leader.comes_to(true).await;
    leader.stop().await;
}
