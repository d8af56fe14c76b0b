//! The groups of a cluster, followed.

use std::sync::Arc;

use autoregistration::kubernetes::groups::{Followed, Groups};
use autoregistration::kubernetes::metrics::Metrics;
use autoregistration::kubernetes::scope::Scope;
use autoregistration::manifests::Manifests;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams};
use lab::apiserver::ApiServer;
use serde_json::json;
use tokio::task::JoinHandle;

use crate::cluster::{Cluster, DEADLINE};

fn manifest(name: &str, port: i64) -> String {
    format!(
        "{{apiVersion: workload.buoyant.io/v1alpha1, kind: ExternalGroup, metadata: {{name: {name}}}, \
         spec: {{template: {{ports: [{{port: {port}}}]}}}}}}"
    )
}

struct Following {
    followed: Followed,
    namespace: String,
    task: JoinHandle<()>,
}

impl Following {
    async fn start(cluster: &Cluster, namespace: &str) -> Self {
        let (groups, followed) =
            Groups::load(&cluster.client, &Scope::everywhere(), Metrics::default()).await;
        Self {
            followed,
            namespace: namespace.to_owned(),
            task: tokio::spawn(groups.run()),
        }
    }

    /// Names and ports of the groups, once they are these.
    async fn come_to_be(&mut self, expected: &[(&str, u16)]) {
        let namespace = self.namespace.clone();
        let ports = move |manifests: &Arc<Manifests>| {
            let groups = manifests.groups.values();
            let ours = groups.filter(|group| group.namespace == namespace);
            ours.map(|group| (group.name.clone(), group.ports[0].1))
                .collect::<Vec<_>>()
        };
        let expected = expected
            .iter()
            .map(|(name, port)| ((*name).to_owned(), *port))
            .collect::<Vec<_>>();
        let manifests = &mut self.followed.manifests;
        let met = manifests.wait_for(|manifests| ports(manifests) == expected);
        let met = tokio::time::timeout(DEADLINE, met).await.is_ok();
        assert!(met, "{:?} is not {expected:?}", manifests.borrow().groups);
    }

    fn problem(&self, name: &str) -> Option<String> {
        let key = (self.namespace.clone(), name.to_owned());
        let refused = self.followed.refused.borrow();
        refused
            .get(&key)
            .map(|refused| refused.problems[0].to_string())
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn set_port(cluster: &Cluster, namespace: &str, name: &str, port: i64) {
    let patch = Patch::Merge(json!({ "spec": { "template": { "ports": [{ "port": port }] } } }));
    let groups = cluster.groups(namespace);
    let patched = groups.patch(name, &PatchParams::default(), &patch).await;
    drop::<DynamicObject>(patched.unwrap());
}

#[tokio::test]
async fn groups_that_are_added_edited_and_deleted_are_followed() {
    let cluster = Cluster::shared().await;
    cluster.namespace("followed").await;
    cluster
        .create("followed", &manifest("a", 80))
        .await
        .unwrap();
    let mut following = Following::start(&cluster, "followed").await;
    following.come_to_be(&[("a", 80)]).await;
    cluster
        .create("followed", &manifest("b", 81))
        .await
        .unwrap();
    following.come_to_be(&[("a", 80), ("b", 81)]).await;
    set_port(&cluster, "followed", "a", 82).await;
    following.come_to_be(&[("a", 82), ("b", 81)]).await;
    let groups = cluster.groups("followed");
    drop(groups.delete("a", &DeleteParams::default()).await.unwrap());
    following.come_to_be(&[("b", 81)]).await;
}

/// A definition of somebody else lets through what ours would refuse.
#[tokio::test]
async fn a_broken_group_is_said_and_the_others_are_followed() {
    let cluster = Cluster::alone().await;
    let theirs = serde_norway::from_str(crate::foreign::DEFINITION).unwrap();
    cluster.install(&theirs).await;
    cluster.namespace("broken").await;
    cluster.create("broken", &manifest("a", 0)).await.unwrap();
    cluster.create("broken", &manifest("b", 80)).await.unwrap();
    let mut following = Following::start(&cluster, "broken").await;
    following.come_to_be(&[("b", 80)]).await;
    let problem = following.problem("a").unwrap();
    assert!(problem.contains("spec.template.ports[0].port"), "{problem}");

    // One that was good stays as it was.
    set_port(&cluster, "broken", "b", 99_999).await;
    cluster.create("broken", &manifest("c", 81)).await.unwrap();
    following.come_to_be(&[("b", 80), ("c", 81)]).await;
    assert!(following.problem("b").unwrap().contains("99999"));
    set_port(&cluster, "broken", "a", 82).await;
    following
        .come_to_be(&[("a", 82), ("b", 80), ("c", 81)])
        .await;
    assert_eq!(following.problem("a"), None);
}

#[tokio::test]
async fn an_api_server_that_is_away_changes_nothing_and_is_followed_when_it_is_back() {
    let server = tokio::task::spawn_blocking(|| ApiServer::start().unwrap());
    let mut server = server.await.unwrap();
    let cluster = Cluster::at(&server).await;
    cluster
        .install(&autoregistration::crd::external_group())
        .await;
    cluster.namespace("away").await;
    cluster.create("away", &manifest("a", 80)).await.unwrap();
    let mut following = Following::start(&cluster, "away").await;
    following.come_to_be(&[("a", 80)]).await;

    let seen = following.followed.manifests.borrow_and_update().clone();
    server.kill();
    let server = tokio::task::spawn_blocking(move || {
        server.restart().unwrap();
        server
    });
    let _server = server.await.unwrap();
    assert!(Arc::ptr_eq(&seen, &following.followed.manifests.borrow()));
    assert!(!following.followed.manifests.has_changed().unwrap());
    cluster.create("away", &manifest("b", 81)).await.unwrap();
    following.come_to_be(&[("a", 80), ("b", 81)]).await;
}
