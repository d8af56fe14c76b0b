//! The rights that the chart grants are enough for a replica.

use k8s_openapi::api::events::v1::Event;
use kube::api::{Api, ListParams};
use kube::config::Kubeconfig;

use super::mesh::{GROUP, NAMESPACE, OURS, until};
use super::replica::{Plan, TTL};
use super::{Mesh, Vm, registration};
use crate::chart;

#[tokio::test]
async fn with_the_rights_of_the_chart_a_replica_does_all_that_it_has_to() {
    let (server, cluster) = chart::with_linkerd().await;
    chart::install(&cluster).await;
    let mut mesh = Mesh::on(server, &cluster).await;
    let account = "linkerd-autoregistration";
    let mut file = Kubeconfig::read_from(&mesh.kubeconfig).unwrap();
    let auth = file.auth_infos[0].auth_info.as_mut().unwrap();
    auth.impersonate = Some(format!("system:serviceaccount:{OURS}:{account}"));
    auth.impersonate_groups = Some(vec![
        "system:authenticated".to_owned(),
        "system:serviceaccounts".to_owned(),
        format!("system:serviceaccounts:{OURS}"),
    ]);
    let directory = tempfile::tempdir().unwrap();
    mesh.kubeconfig = directory.path().join("kubeconfig");
    let text = serde_norway::to_string(&file).unwrap();
    std::fs::write(&mesh.kubeconfig, text).unwrap();

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
}
