//! The settings of a mesh, followed by somebody who may read no more than he has to.

use std::collections::BTreeMap;
use std::sync::Arc;

use autoregistration::kubernetes::metrics::Metrics;
use autoregistration::kubernetes::scope::Scope;
use autoregistration::linkerd::Settings;
use autoregistration::linkerd::watch::Watch;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use kube::api::{Api, DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use lab::apiserver::ApiServer;
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::cluster::{Cluster, DEADLINE};

const CONFIG: &str = "linkerd-config";
const ANCHORS: &str = "linkerd-identity-trust-roots";
const LOG: &str = "config.linkerd.io/proxy-log-level";

struct Following {
    settings: watch::Receiver<Arc<Settings>>,
    task: JoinHandle<()>,
}

impl Following {
    async fn start(client: &Client, namespace: &str) -> Self {
        let scope = Scope::everywhere();
        let load = Watch::load(client, &scope, namespace.to_owned(), Metrics::default());
        let (watch, settings) = tokio::time::timeout(DEADLINE, load).await.unwrap();
        Self {
            settings,
            task: tokio::spawn(watch.run()),
        }
    }

    async fn come_to_be(&mut self, what: &str, met: impl Fn(&Settings) -> bool) -> Arc<Settings> {
        let found = self.settings.wait_for(|settings| met(settings));
        let found = tokio::time::timeout(DEADLINE, found).await;
        Arc::clone(
            &found
                .unwrap_or_else(|_| panic!("{what} is not so"))
                .unwrap(),
        )
    }

    async fn has_domain(&mut self, domain: &str) -> Arc<Settings> {
        self.come_to_be(domain, |settings| settings.cluster_domain == domain)
            .await
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn certificate() -> String {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["root.linkerd".to_owned()]).unwrap();
    params.self_signed(&key).unwrap().pem()
}

fn domain(name: &str) -> String {
    format!("clusterDomain: {name}\n")
}

/// Makes a `ConfigMap` say this, whether it is there or not.
async fn put(cluster: &Cluster, namespace: &str, name: &str, key: &str, text: &str) {
    let api = Api::<ConfigMap>::namespaced(cluster.client.clone(), namespace);
    let object = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name }, "data": { key: text },
    });
    let params = PatchParams::apply("test").force();
    drop(
        api.patch(name, &params, &Patch::Apply(object))
            .await
            .unwrap(),
    );
}

async fn put_config(cluster: &Cluster, namespace: &str, text: &str) {
    put(cluster, namespace, CONFIG, "values", text).await;
}

async fn put_anchors(cluster: &Cluster, namespace: &str, text: &str) {
    put(cluster, namespace, ANCHORS, "ca-bundle.crt", text).await;
}

async fn delete(cluster: &Cluster, namespace: &str, name: &str) {
    let api = Api::<ConfigMap>::namespaced(cluster.client.clone(), namespace);
    drop(api.delete(name, &DeleteParams::default()).await.unwrap());
}

async fn annotate(cluster: &Cluster, namespace: &str, name: &str, value: &str) {
    let api = Api::<Namespace>::all(cluster.client.clone());
    let patch = Patch::Merge(json!({ "metadata": { "annotations": { name: value } } }));
    drop(
        api.patch(namespace, &PatchParams::default(), &patch)
            .await
            .unwrap(),
    );
}

fn annotations<'a>(
    settings: &'a Settings,
    namespace: &str,
) -> Option<&'a BTreeMap<String, String>> {
    settings.namespaces.get(namespace)
}

#[tokio::test]
async fn both_objects_are_waited_for_and_then_followed_through_edits_breakage_and_deletion() {
    let (cluster, ns) = (Cluster::shared().await, "settings-followed");
    cluster.namespace(ns).await;
    let (client, namespace) = (cluster.client.clone(), ns.to_owned());
    let loading = tokio::spawn(async move { Following::start(&client, &namespace).await });
    put_config(&cluster, ns, "{clusterDomain: [broken]}").await;
    put_anchors(&cluster, ns, "no certificate").await;
    let (old, new) = (certificate(), certificate());
    put_anchors(&cluster, ns, &old).await;
    assert!(!loading.is_finished());
    put_config(&cluster, ns, &domain("a.example")).await;
    let mut following = loading.await.unwrap();
    let settings = following.has_domain("a.example").await;
    assert_eq!(
        settings.trust_anchors_pem.lines().count(),
        old.lines().count()
    );

    put_config(&cluster, ns, &domain("b.example")).await;
    following.has_domain("b.example").await;
    let both = format!("{old}{new}");
    put_anchors(&cluster, ns, &both).await;
    following
        .come_to_be("a rotated bundle", |settings| {
            settings.trust_anchors_pem.lines().eq(both.lines())
        })
        .await;

    // Broken or gone, each is as it was last good; what is edited beside it is taken all the same.
    put_config(&cluster, ns, "{proxy: 1}").await;
    put_anchors(&cluster, ns, &both.replace("-----BEGIN", "-----BEGUN")).await;
    annotate(&cluster, ns, LOG, "one").await;
    let settings = following
        .come_to_be("an annotation", |settings| {
            annotations(settings, ns).is_some_and(|found| found[LOG] == "one")
        })
        .await;
    assert_eq!(settings.cluster_domain, "b.example");
    assert!(settings.trust_anchors_pem.lines().eq(both.lines()));
    delete(&cluster, ns, CONFIG).await;
    delete(&cluster, ns, ANCHORS).await;
    annotate(&cluster, ns, LOG, "two").await;
    let settings = following
        .come_to_be("another annotation", |settings| {
            annotations(settings, ns).is_some_and(|found| found[LOG] == "two")
        })
        .await;
    assert_eq!(settings.cluster_domain, "b.example");
    assert!(settings.trust_anchors_pem.lines().eq(both.lines()));
    put_config(&cluster, ns, &domain("c.example")).await;
    following.has_domain("c.example").await;
}

#[tokio::test]
async fn of_a_namespace_only_linkerds_annotations_are_news() {
    // Nobody else edits its namespaces.
    let (cluster, ns) = (Cluster::alone().await, "settings-news");
    cluster.namespace(ns).await;
    put_config(&cluster, ns, &domain("a.example")).await;
    put_anchors(&cluster, ns, &certificate()).await;
    let mut following = Following::start(&cluster.client, ns).await;
    annotate(&cluster, ns, "team/owner", "somebody").await;
    annotate(&cluster, ns, LOG, "debug").await;
    tokio::time::timeout(DEADLINE, following.settings.changed())
        .await
        .unwrap()
        .unwrap();
    // The first news is the second edit.
    let settings = Arc::clone(&following.settings.borrow_and_update());
    let expected = [(LOG.to_owned(), "debug".to_owned())].into();
    assert_eq!(annotations(&settings, ns), Some(&expected));
}

#[tokio::test]
async fn an_api_server_that_is_away_leaves_the_settings_and_is_followed_when_it_is_back() {
    let server = tokio::task::spawn_blocking(|| ApiServer::start().unwrap());
    let mut server = server.await.unwrap();
    let (cluster, ns) = (Cluster::at(&server).await, "settings-away");
    cluster.namespace(ns).await;
    put_config(&cluster, ns, &domain("a.example")).await;
    put_anchors(&cluster, ns, &certificate()).await;
    annotate(&cluster, ns, LOG, "debug").await;
    let mut following = Following::start(&cluster.client, ns).await;
    let before = Arc::clone(&following.settings.borrow_and_update());
    assert!(annotations(&before, ns).is_some());
    server.kill();
    let server = tokio::task::spawn_blocking(move || {
        server.restart().unwrap();
        server
    });
    let _server = server.await.unwrap();
    assert!(Arc::ptr_eq(&before, &following.settings.borrow()));
    put_config(&cluster, ns, &domain("b.example")).await;
    let after = following.has_domain("b.example").await;
    assert_eq!(after.namespaces, before.namespaces);
}

/// The two objects by their names, and namespaces: that is all that has to be granted.
#[tokio::test]
async fn two_objects_by_name_and_namespaces_are_all_that_has_to_be_readable() {
    let server = tokio::task::spawn_blocking(|| ApiServer::start().unwrap());
    let server = server.await.unwrap();
    let (cluster, ns) = (Cluster::at(&server).await, "settings-least");
    cluster.namespace(ns).await;
    put_config(&cluster, ns, &domain("a.example")).await;
    put_anchors(&cluster, ns, &certificate()).await;
    let user = "system:serviceaccount:mesh-expansion:autoregistration";
    grant(&cluster, ns, user).await;

    let file = Kubeconfig::read_from(server.kubeconfig()).unwrap();
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(file, &options);
    let mut config = config.await.unwrap();
    config.auth_info.impersonate = Some(user.to_owned());
    let client = Client::try_from(config).unwrap();
    let others = Api::<ConfigMap>::namespaced(client.clone(), ns);
    assert!(
        others.list(&ListParams::default()).await.is_err(),
        "RBAC is on"
    );

    let mut following = Following::start(&client, ns).await;
    put_config(&cluster, ns, &domain("b.example")).await;
    following.has_domain("b.example").await;
    annotate(&cluster, ns, LOG, "debug").await;
    following
        .come_to_be("an annotation", |settings| {
            annotations(settings, ns).is_some()
        })
        .await;
}

async fn grant(cluster: &Cluster, namespace: &str, user: &str) {
    let name = "settings";
    let meta = || ObjectMeta {
        name: Some(name.to_owned()),
        ..ObjectMeta::default()
    };
    let role: Role = serde_json::from_value(json!({ "metadata": meta(), "rules": [
        { "apiGroups": [""], "resources": ["configmaps"], "resourceNames": [CONFIG, ANCHORS], "verbs": ["list", "watch"] },
    ]}))
    .unwrap();
    let cluster_role: ClusterRole = serde_json::from_value(json!({ "metadata": meta(), "rules": [
        { "apiGroups": [""], "resources": ["namespaces"], "verbs": ["list", "watch"] },
    ]}))
    .unwrap();
    let binding = |kind: &str| {
        json!({
            "metadata": meta(),
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name },
            "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user }],
        })
    };
    let (client, params) = (&cluster.client, PostParams::default());
    let roles = Api::<Role>::namespaced(client.clone(), namespace);
    drop(roles.create(&params, &role).await.unwrap());
    let bindings = Api::<RoleBinding>::namespaced(client.clone(), namespace);
    let bound = serde_json::from_value(binding("Role")).unwrap();
    drop(bindings.create(&params, &bound).await.unwrap());
    let roles = Api::<ClusterRole>::all(client.clone());
    drop(roles.create(&params, &cluster_role).await.unwrap());
    let bindings = Api::<ClusterRoleBinding>::all(client.clone());
    let bound = serde_json::from_value(binding("ClusterRole")).unwrap();
    drop(bindings.create(&params, &bound).await.unwrap());
}
