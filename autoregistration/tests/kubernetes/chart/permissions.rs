//! Each call of the table is granted, and every other one is not.

use std::collections::BTreeSet;

use autoregistration::crd::external_workload::ExternalWorkload;
use futures::{StreamExt as _, stream};
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
    SelfSubjectRulesReview, SelfSubjectRulesReviewSpec,
};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use lab::apiserver::ApiServer;
use serde_json::json;

use super::calls::{CALLS, NEVER, Place};
use super::{install, install_narrow, with_linkerd};

const NAMESPACE: &str = "linkerd-expansion";
const NAME: &str = "linkerd-autoregistration";
const VERBS: [&str; 12] = [
    "get",
    "list",
    "watch",
    "create",
    "update",
    "patch",
    "delete",
    "deletecollection",
    "impersonate",
    "bind",
    "escalate",
    "*",
];
/// Questions at a time.
const AT_ONCE: usize = 16;
/// No namespace, ours, Linkerd's, and one of the VMs.
const NAMESPACES: [&str; 4] = ["", NAMESPACE, "linkerd", "training"];
/// The namespaces that are watched where not all are.
const WATCHED: [&str; 2] = ["training", NAMESPACE];
/// No name, and those that rules have; and one that none has.
const NAMES: [&str; 5] = [
    "",
    NAME,
    "linkerd-config",
    "linkerd-identity-trust-roots",
    "another",
];

/// The program's own: what a pod of the Deployment may do.
async fn as_the_program(server: &ApiServer) -> Client {
    let mut file = Kubeconfig::read_from(server.kubeconfig()).unwrap();
    let auth = file.auth_infos[0].auth_info.as_mut().unwrap();
    auth.impersonate = Some(format!("system:serviceaccount:{NAMESPACE}:{NAME}"));
    auth.impersonate_groups = Some(vec![
        "system:authenticated".to_owned(),
        "system:serviceaccounts".to_owned(),
        format!("system:serviceaccounts:{NAMESPACE}"),
    ]);
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(file, &options);
    let client = Client::try_from(config.await.unwrap()).unwrap();
    let reviews = Api::<SelfSubjectReview>::all(client.clone());
    let answer = reviews
        .create(&PostParams::default(), &SelfSubjectReview::default())
        .await
        .unwrap();
    let user = answer.status.unwrap().user_info.unwrap().username.unwrap();
    assert!(user.ends_with(NAME), "impersonation works: {user}");
    client
}

/// `watched`: empty for all namespaces.
fn is_called(watched: &[&str], resource: &str, namespace: &str, name: &str, verb: &str) -> bool {
    let is_watched = |namespace| watched.is_empty() || watched.contains(&namespace);
    CALLS.iter().any(|calls| {
        let there = match calls.place {
            Place::Watched => is_watched(namespace),
            Place::Namespaces => is_watched(name),
            Place::Own => namespace == NAMESPACE,
            Place::Linkerd => namespace == "linkerd",
        };
        there
            && calls.resource == resource
            && (calls.names.is_empty() || calls.names.contains(&name))
            && calls.verbs.contains(&verb)
    })
}

async fn is_granted(
    client: &Client,
    resource: &str,
    namespace: &str,
    name: &str,
    verb: &str,
) -> bool {
    let some = |text: &str| Some(text.to_owned());
    let mut parts = resource.split('/');
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                group: parts.next().and_then(some),
                resource: parts.next().and_then(some),
                subresource: parts.next().and_then(some),
                namespace: some(namespace),
                name: some(name),
                verb: some(verb),
                ..ResourceAttributes::default()
            }),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    };
    let reviews = Api::<SelfSubjectAccessReview>::all(client.clone());
    let answer = reviews.create(&PostParams::default(), &review).await;
    answer.unwrap().status.unwrap().allowed
}

#[tokio::test]
async fn what_the_program_calls_is_granted_and_nothing_else() {
    let (server, cluster) = with_linkerd().await;
    install(&cluster).await;
    let resources = called().chain(NEVER.iter().copied()).collect();
    grants_what_is_called(&as_the_program(&server).await, resources, &[], &[]).await;
}

#[tokio::test]
async fn with_some_namespaces_to_watch_nothing_is_granted_in_others() {
    let (server, cluster) = with_linkerd().await;
    cluster.namespace("training").await;
    install_narrow(&cluster).await;
    let client = as_the_program(&server).await;
    grants_what_is_called(
        &client,
        called().collect(),
        &["training", "another"],
        &WATCHED,
    )
    .await;
}

fn called() -> impl Iterator<Item = &'static str> {
    CALLS.iter().map(|calls| calls.resource)
}

/// Asks about `resources`, in these namespaces and of these names too.
async fn grants_what_is_called(
    client: &Client,
    resources: BTreeSet<&str>,
    namespaces: &[&'static str],
    watched: &[&str],
) {
    let mut questions = Vec::new();
    for resource in resources {
        for namespace in NAMESPACES.iter().chain(namespaces) {
            for name in NAMES.iter().chain(namespaces) {
                questions.extend(VERBS.map(|verb| (resource, *namespace, *name, verb)));
            }
        }
    }
    let asked = questions
        .into_iter()
        .map(|(resource, namespace, name, verb)| async move {
            let wanted = is_called(watched, resource, namespace, name, verb);
            let granted = is_granted(client, resource, namespace, name, verb).await;
            let what = if granted { "is granted" } else { "is missing" };
            (wanted != granted)
                .then(|| format!("{verb} {resource} {name:?} in {namespace:?} {what}"))
        });
    let answers = stream::iter(asked).buffer_unordered(AT_ONCE);
    let wrong: Vec<String> = answers.filter_map(|wrong| async { wrong }).collect().await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What nobody thought of to ask about: all rules there are, whatever they are about.
#[tokio::test]
async fn no_rule_is_about_anything_that_the_program_does_not_call() {
    let (server, cluster) = with_linkerd().await;
    install(&cluster).await;
    let client = as_the_program(&server).await;
    let mut seen = BTreeSet::new();
    for namespace in NAMESPACES.into_iter().filter(|it| !it.is_empty()) {
        let review = SelfSubjectRulesReview {
            spec: SelfSubjectRulesReviewSpec {
                namespace: Some(namespace.to_owned()),
            },
            ..SelfSubjectRulesReview::default()
        };
        let reviews = Api::<SelfSubjectRulesReview>::all(client.clone());
        let answer = reviews.create(&PostParams::default(), &review).await;
        for rule in answer.unwrap().status.unwrap().resource_rules {
            for group in rule.api_groups.iter().flatten() {
                let resources = rule.resources.iter().flatten();
                seen.extend(resources.map(|resource| format!("{group}/{resource}")));
            }
        }
    }
    // Everybody may ask who he is and what he may do.
    seen.retain(|it| {
        !it.starts_with("authentication.k8s.io/") && !it.starts_with("authorization.k8s.io/")
    });
    let called = CALLS.iter().map(|calls| calls.resource.to_owned());
    assert_eq!(seen, called.collect());
}

/// Reviews answer about words; these are the calls themselves.
#[tokio::test]
async fn the_calls_that_rules_could_get_wrong_work_as_they_are_made() {
    let (server, cluster) = with_linkerd().await;
    let definition = include_str!("../externalworkloads.yaml");
    cluster
        .install(&serde_norway::from_str(definition).unwrap())
        .await;
    cluster.namespace("training").await;
    install(&cluster).await;
    let client = as_the_program(&server).await;
    let apply = PatchParams::apply("test").force();

    let leases = Api::<Lease>::namespaced(client.clone(), NAMESPACE);
    let mut lease = Lease::default();
    lease.metadata.name = Some(NAME.to_owned());
    let params = PostParams::default();
    leases.create(&params, &lease).await.unwrap();
    let mut held = leases.get(NAME).await.unwrap();
    held.spec.get_or_insert_default().holder_identity = Some("a".to_owned());
    leases.replace(NAME, &params, &held).await.unwrap();
    refused(leases.get("another").await);

    let workloads = Api::<ExternalWorkload>::namespaced(client.clone(), "training");
    let workload = json!({
        "apiVersion": "workload.linkerd.io/v1beta1", "kind": "ExternalWorkload", "metadata": { "name": "a" },
        "spec": { "meshTLS": { "identity": "spiffe://a/b", "serverName": "a.b" }, "workloadIPs": [{ "ip": "10.0.0.1" }] },
    });
    workloads
        .patch("a", &apply, &Patch::Apply(&workload))
        .await
        .unwrap();
    let ready = json!({
        "apiVersion": "workload.linkerd.io/v1beta1", "kind": "ExternalWorkload", "metadata": { "name": "a" },
        "status": { "conditions": [{ "type": "Ready", "status": "True" }] },
    });
    workloads
        .patch_status("a", &apply, &Patch::Apply(&ready))
        .await
        .unwrap();
    workloads
        .delete("a", &DeleteParams::default())
        .await
        .unwrap();

    let settings = Api::<ConfigMap>::namespaced(client.clone(), "linkerd");
    let one = ListParams::default().fields("metadata.name=linkerd-config");
    settings.list(&one).await.unwrap();
    refused(settings.list(&ListParams::default()).await);
    let others = Api::<ConfigMap>::namespaced(client.clone(), NAMESPACE);
    refused(others.list(&one).await);
    let secrets = Api::<Secret>::namespaced(client, NAMESPACE);
    refused(secrets.list(&ListParams::default()).await);
}

fn refused<T: std::fmt::Debug>(result: Result<T, kube::Error>) {
    match result {
        Err(kube::Error::Api(status)) if status.code == 403 => {}
        other => panic!("{other:?}"),
    }
}
