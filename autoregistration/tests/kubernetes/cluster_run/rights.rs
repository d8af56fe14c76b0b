//! The rights that the chart grants are enough for a replica, and it makes use of each.

use autoregistration::crd::ExternalWorkload;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::events::v1::Event;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use kube::config::Kubeconfig;
use linkerd_harness_api::v1::health_report::State;
use linkerd_harness_api::v1::leave::Mode;
use serde_json::json;
use tempfile::TempDir;

use super::mesh::{GROUP, LEASE, NAMESPACE, OURS, until};
use super::replica::{Plan, TTL};
use super::{Mesh, Vm, calls, registration};
use crate::chart;

const ACCOUNT: &str = "linkerd-autoregistration";

/// Replicas have the rights of the chart's `ServiceAccount`, and no others, as long as the directory is there.
fn as_the_program(mesh: &mut Mesh) -> TempDir {
    let mut file = Kubeconfig::read_from(&mesh.kubeconfig).unwrap();
    let auth = file.auth_infos[0].auth_info.as_mut().unwrap();
    auth.impersonate = Some(format!("system:serviceaccount:{OURS}:{ACCOUNT}"));
    auth.impersonate_groups = Some(vec![
        "system:authenticated".to_owned(),
        "system:serviceaccounts".to_owned(),
        format!("system:serviceaccounts:{OURS}"),
    ]);
    let directory = tempfile::tempdir().unwrap();
    mesh.kubeconfig = directory.path().join("kubeconfig");
    let text = serde_norway::to_string(&file).unwrap();
    std::fs::write(&mesh.kubeconfig, text).unwrap();
    directory
}

#[tokio::test]
async fn with_the_rights_of_the_chart_a_replica_does_all_that_it_has_to() {
    let (server, cluster) = chart::with_linkerd().await;
    chart::install(&cluster).await;
    let mut mesh = Mesh::on(server, &cluster).await;
    // The first of all makes it.
    let lease = mesh.leases().delete(LEASE, &DeleteParams::default()).await;
    drop(lease.unwrap());
    let _directory = as_the_program(&mut mesh);
    let plan = Plan::new(&mesh, 1).ttl(TTL);
    let replica = plan.start().await;
    let addr = replica.registration();
    registration::walk(&mesh, addr).await;
    let mut vm = Vm::new(2);
    let (session, workload) = vm.join_well(addr).await;
    drop(session);
    mesh.is_ready(&workload, "Unknown").await;
    mesh.is_gone(&workload).await;
    assert_eq!(mesh.leader("").await, "replica-1");
    until("the events are there", || async {
        let events = Api::<Event>::namespaced(mesh.client.clone(), NAMESPACE);
        let events = events.list(&ListParams::default()).await.unwrap().items;
        let of = |kind: &str, name: &str, reason: &str| {
            events.iter().any(|event| {
                let regarding = event.regarding.as_ref().unwrap();
                regarding.kind.as_deref() == Some(kind)
                    && regarding.name.as_deref() == Some(name)
                    && event.reason.as_deref() == Some(reason)
            })
        };
        let there = of("ExternalGroup", GROUP, "Registered")
            && of("ExternalWorkload", &workload, "HarnessUnreachable");
        there.then_some(())
    })
    .await;
    until("the group has its status", || async {
        let group = mesh.groups().get(GROUP).await.ok()?;
        (group.data["status"]["workloads"] == 0).then_some(())
    })
    .await;
    let user = format!("system:serviceaccount:{OURS}:{ACCOUNT}");
    calls::are_those_granted(&mesh.calls(), &user);
}

#[tokio::test]
async fn with_rights_in_some_namespaces_a_replica_serves_these_and_says_so() {
    let (server, cluster) = chart::with_linkerd().await;
    // The chart's golden has rights in this one and in our own.
    cluster.namespace(NAMESPACE).await;
    cluster.namespace("another").await;
    chart::install_narrow(&cluster).await;
    let mut mesh = Mesh::on(server, &cluster).await;
    for namespace in [OURS, "another"] {
        mesh.group_in(namespace, json!({})).await;
    }
    let _directory = as_the_program(&mut mesh);

    let replica = Plan::new(&mesh, 1).watch(&[NAMESPACE, OURS]).start().await;
    let addr = replica.registration();
    registration::walk(&mesh, addr).await;

    let mut second = Vm::new(2);
    second.of(OURS);
    let (mut session, assignment) = second.join(addr).await;
    session.reports(State::Healthy).await;
    let workload = assignment.workload.unwrap();
    assert_eq!(workload.namespace, OURS);
    // The annotations of the namespace, which is read by its name.
    let annotated = json!({ "metadata": { "annotations": { "config.linkerd.io/default-inbound-policy": "deny" } } });
    let namespaces = Api::<Namespace>::all(mesh.client.clone());
    let patch = Patch::Merge(&annotated);
    namespaces
        .patch(OURS, &PatchParams::default(), &patch)
        .await
        .unwrap();
    let told = session.assignment().await;
    assert_eq!(told.proxy.unwrap().default_inbound_policy, "deny");

    let mut third = Vm::new(3);
    third.of("another");
    let mut waiting = third.open(addr).await.unwrap();
    let (reason, message) = waiting.pending_words().await;
    assert_eq!(reason, "GROUP_NOT_FOUND");
    assert!(
        message.contains("only at the namespaces `linkerd-expansion`, `training`"),
        "{message}"
    );
    // The same address elsewhere is nobody's business here.
    let others = Api::<ExternalWorkload>::namespaced(mesh.client.clone(), "another");
    assert_eq!(
        others
            .list(&ListParams::default())
            .await
            .unwrap()
            .items
            .len(),
        0
    );
    assert_eq!(
        replica
            .metric("autoregistration_watch_restarts_total{kind=\"ExternalGroup\"}")
            .await,
        0
    );

    session.leaves(Mode::Remove).await;
    assert_eq!(session.end().await, None);
    let ours = Api::<ExternalWorkload>::namespaced(mesh.client.clone(), OURS);
    until("the workload of our own namespace is gone", || async {
        ours.get_opt(&workload.name)
            .await
            .unwrap()
            .is_none()
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_namespace_that_is_not_watched_is_not_served_though_there_are_rights_in_it() {
    let mesh = Mesh::start().await;
    mesh.group_in(OURS, json!({})).await;
    let replica = Plan::new(&mesh, 1).watch(&[NAMESPACE]).start().await;
    let (mut here, mut elsewhere) = (Vm::new(1), Vm::new(2));
    here.join_well(replica.registration()).await;
    elsewhere.of(OURS);
    let mut waiting = elsewhere.open(replica.registration()).await.unwrap();
    assert_eq!(waiting.pending().await, "GROUP_NOT_FOUND");
}
