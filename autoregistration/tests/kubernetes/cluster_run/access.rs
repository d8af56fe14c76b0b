//! Whom a group lets in, and what becomes of those whom it does not.

use autoregistration::registry::DefaultAccess;
use k8s_openapi::api::events::v1::Event;
use kube::api::{Api, ListParams, Patch, PatchParams};
use linkerd_harness_api::v1::health_report::State;
use serde_json::{Value, json};

use super::mesh::{GROUP, NAMESPACE, until};
use super::replica::Plan;
use super::{Mesh, Vm};

async fn edit(mesh: &Mesh, access: Value) {
    let patch = Patch::Merge(json!({ "spec": { "access": access } }));
    let edited = mesh
        .groups()
        .patch(GROUP, &PatchParams::default(), &patch)
        .await;
    drop(edited.unwrap());
}

/// The registry has the group as it is now.
async fn is_taken(mesh: &Mesh) {
    until("the group is taken as it is", || async {
        let group = mesh.groups().get(GROUP).await.ok()?;
        let taken = group.data["status"]["observedGeneration"].as_i64();
        (taken.is_some() && taken == group.metadata.generation).then_some(())
    })
    .await;
}

async fn is_told(mesh: &Mesh, reason: &str, words: &str) {
    let events = Api::<Event>::namespaced(mesh.client.clone(), NAMESPACE);
    until(reason, || async {
        let events = events.list(&ListParams::default()).await.unwrap().items;
        let told = events.iter().any(|event| {
            let regarding = event.regarding.as_ref().unwrap();
            regarding.name.as_deref() == Some(GROUP)
                && event.reason.as_deref() == Some(reason)
                && event.note.as_ref().is_some_and(|note| note.contains(words))
        });
        told.then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_group_lets_in_whom_it_names_from_where_it_names_and_no_more_than_it_says() {
    let mesh = Mesh::start().await;
    edit(
        &mesh,
        json!({
            "identities": ["spiffe://root.linkerd.cluster.local/vms/1", "spiffe://root.linkerd.cluster.local/more/*"],
            "networks": ["10.77.0.0/24"],
            "maxWorkloads": 2,
        }),
    )
    .await;
    let replica = Plan::new(&mesh, 1).start().await;
    let addr = replica.registration();
    let (mut by_name, mut by_path, mut stranger, mut astray, mut third) =
        (Vm::new(1), Vm::new(2), Vm::new(3), Vm::new(4), Vm::new(5));
    for vm in [&mut by_path, &mut astray, &mut third] {
        vm.identity = vm.identity.replace("/vms/", "/more/");
    }
    astray.hello.ips = vec!["10.78.0.4".to_owned()];
    let (mut member, workload) = by_name.join_well(addr).await;
    assert_eq!(stranger.is_refused(addr).await, "IDENTITY_NOT_ALLOWED");
    assert_eq!(astray.is_refused(addr).await, "ADDRESS_NOT_ALLOWED");
    let _second = by_path.join_well(addr).await;
    let before = mesh.versions().await;
    assert_eq!(before.len(), 2);
    assert_eq!(third.is_refused(addr).await, "GROUP_FULL");
    // Who is in stays, and keeps his place when he comes again, also where there are more than there may be.
    edit(&mesh, json!({ "maxWorkloads": 1 })).await;
    is_taken(&mesh).await;
    let (_again, told) = by_path.join(addr).await;
    assert!(before.contains_key(&super::vm::name(&told)));
    assert_eq!(mesh.versions().await, before);

    for reason in ["IDENTITY_NOT_ALLOWED", "ADDRESS_NOT_ALLOWED", "GROUP_FULL"] {
        let line = format!("autoregistration_hellos_total{{outcome=\"{reason}\"}}");
        assert_eq!(replica.metric(&line).await, 1, "{reason}");
    }
    is_told(&mesh, "IdentityDenied", "").await;
    assert!(member.heard_nothing());
    member.reports(State::Unhealthy).await;
    mesh.is_ready(&workload, "False").await;
}

#[tokio::test]
async fn who_is_let_in_no_more_goes_and_who_still_is_stays() {
    let mesh = Mesh::start().await;
    let replica = Plan::new(&mesh, 1).start().await;
    let (mut goes, mut stays) = (Vm::new(1), Vm::new(2));
    let (mut gone, removed) = goes.join_well(replica.registration()).await;
    let (mut session, kept) = stays.join_well(replica.registration()).await;
    let before = mesh.versions().await;
    edit(&mesh, json!({ "identities": [stays.identity] })).await;
    assert_eq!(gone.end().await.as_deref(), Some("IDENTITY_NOT_ALLOWED"));
    mesh.is_gone(&removed).await;
    assert!(session.heard_nothing());
    assert_eq!(mesh.versions().await[&kept], before[&kept]);
}

#[tokio::test]
async fn with_default_access_deny_a_group_that_names_nobody_lets_nobody_in() {
    let mesh = Mesh::start().await;
    let mut plan = Plan::new(&mesh, 1);
    plan.args.default_access = DefaultAccess::Deny;
    let replica = plan.start().await;
    let mut vm = Vm::new(1);
    let addr = replica.registration();
    assert_eq!(vm.is_refused(addr).await, "IDENTITY_NOT_ALLOWED");
    assert!(mesh.all().await.is_empty());
    is_told(&mesh, "IdentityDenied", "--default-access is deny").await;
    edit(&mesh, json!({ "identities": [vm.identity] })).await;
    is_taken(&mesh).await;
    let (_session, told) = vm.join(addr).await;
    assert_eq!(told.workload.unwrap().ips, vm.hello.ips);
}
