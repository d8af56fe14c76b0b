//! What a group says of its members beside their looks: which labels they set, whether it is paused, how long it waits.

use autoregistration::crd::ExternalWorkload;
use linkerd_harness_api::v1::health_report::State;
use serde_json::json;

use super::replica::Plan;
use super::vm::name;
use super::{Mesh, Vm};

const PAUSED: &str = "meshexpansion.io/paused";
const TTL: &str = "meshexpansion.io/workload-ttl";

fn asks_for(vm: &mut Vm, labels: &[(&str, &str)]) {
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    vm.hello.labels = labels.iter().map(owned).collect();
}

/// Whether the workload has exactly these labels beside those of the template, the zone, and ours.
fn has<'a>(own: &'a [(&str, &str)]) -> impl Fn(&ExternalWorkload, &str) -> bool + 'a {
    move |workload, _| {
        let labels = workload.metadata.labels.as_ref().unwrap();
        let others = labels.len() == own.len() + 3 && labels["app"] == "training";
        others
            && own
                .iter()
                .all(|(key, value)| labels.get(*key).is_some_and(|it| it == value))
    }
}

#[tokio::test]
async fn labels_of_a_vm_reach_its_workload_as_far_as_its_group_allows() {
    let mesh = Mesh::start().await;
    let allowed = json!({ "access": { "allowedLabels": ["rack", "example.com/*"] } });
    mesh.group(allowed).await;
    let replica = Plan::new(&mesh, 1).start().await;
    let mut vm = Vm::new(1);
    asks_for(&mut vm, &[("rack", "r7"), ("app", "db"), ("tier", "back")]);
    let (mut session, told) = vm.join(replica.registration()).await;
    let workload = name(&told);
    assert_eq!(told.warnings.len(), 2, "{:?}", told.warnings);
    session.reports(State::Healthy).await;
    vm.is(State::Healthy);
    let before = mesh
        .comes_to_be(&workload, "its rack", has(&[("rack", "r7")]))
        .await;

    // Its configuration was edited, and its harness restarted.
    drop(session);
    let mut vm = vm.restarted();
    let both = [("rack", "r8"), ("example.com/row", "3")];
    asks_for(&mut vm, &both);
    let (mut session, told) = vm.join(replica.registration()).await;
    assert_eq!(told.warnings, [""; 0]);
    let after = mesh
        .comes_to_be(&workload, "rack and row", has(&both))
        .await;
    assert_eq!(after.0.metadata.uid, before.0.metadata.uid);

    // It is not cut off by an edit that allows less, but told of it.
    mesh.group(json!({ "annotations": { "meshexpansion.io/access-allowed-labels": "rack, row" } }))
        .await;
    let told = session.assignment().await;
    assert!(
        told.warnings[0].contains("`example.com/row`"),
        "{:?}",
        told.warnings
    );
    let left = has(&[("rack", "r8")]);
    let left = |workload: &ExternalWorkload, ready: &str| left(workload, ready) && ready == "True";
    mesh.comes_to_be(&workload, "it has only its rack", left)
        .await;
    mesh.group(json!({})).await;
    assert!(!session.assignment().await.warnings.is_empty());
    mesh.comes_to_be(&workload, "it has none", has(&[])).await;
}

#[tokio::test]
async fn a_paused_group_takes_nobody_new_and_keeps_its_members_as_they_are() {
    let mesh = Mesh::start().await;
    let replica = Plan::new(&mesh, 1).start().await;
    let mut vm = Vm::new(1);
    let (mut session, workload) = vm.join_well(replica.registration()).await;
    let before = mesh.versions().await;
    let looks = json!({ "metadata": { "labels": { "tier": "back" } } });
    let probe = json!({ "httpGet": { "path": "/healthz" } });
    mesh.group(json!({ "annotations": { PAUSED: "true" }, "template": looks, "probe": probe }))
        .await;
    let message = mesh.group_shows("Paused").await;
    assert!(message.contains(PAUSED), "{message}");
    let mut other = Vm::new(2);
    let mut refused = other.open(replica.registration()).await.unwrap();
    assert_eq!(refused.end().await.as_deref(), Some("GROUP_PAUSED"));
    assert!(session.heard_nothing());

    // A member may come again, and is what it was; also to a replica that has never seen its group as it was.
    drop(session);
    let mut vm = vm.restarted();
    let (session, again) = vm.join_well(replica.registration()).await;
    assert_eq!(again, workload);
    assert_eq!(mesh.versions().await, before);
    drop(session);
    replica.kill();
    let replica = Plan::new(&mesh, 2).start().await;
    let (mut session, again) = vm.restarted().join_well(replica.registration()).await;
    assert_eq!(again, workload);
    session.reports(State::Unhealthy).await;
    let (after, _) = mesh.is_ready(&workload, "False").await;
    assert!(has(&[])(&after, ""), "{after:?}");

    mesh.group(json!({ "template": looks, "probe": probe }))
        .await;
    mesh.comes_to_be(&workload, "the edit reaches it", has(&[("tier", "back")]))
        .await;
    mesh.group_shows("Accepted").await;
    other.join(replica.registration()).await;
}

#[tokio::test]
async fn a_group_says_how_long_the_workload_of_a_vm_that_is_away_is_kept() {
    let mesh = Mesh::start().await;
    mesh.group(json!({ "annotations": { TTL: "30s" } })).await;
    let replica = Plan::new(&mesh, 1).start().await;
    let (session, workload) = Vm::new(1).join_well(replica.registration()).await;
    drop(session);
    // Long before the usual time, and perhaps between two looks of the leader, so that nobody sees it marked.
    mesh.is_gone(&workload).await;

    // What is no time is told, and changes nothing.
    mesh.group(json!({ "annotations": { TTL: "soon" } })).await;
    let message = mesh.group_shows("LastGoodKept").await;
    assert!(
        message.contains(TTL) && message.contains("`soon`"),
        "{message}"
    );
    Vm::new(2).join(replica.registration()).await;
}
