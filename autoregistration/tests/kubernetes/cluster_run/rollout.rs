//! An edit of a group reaches all that it has, and never takes more than one in four out at a time.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use autoregistration::crd::ExternalWorkload;
use futures::StreamExt as _;
use kube::ResourceExt as _;
use kube::runtime::watcher::{self, Event, watcher as watch};
use serde_json::json;

use super::mesh::{GROUP, ready, until};
use super::replica::Plan;
use super::{Mesh, Vm};

const VMS: u8 = 8;

/// Most that were not ready at a time.
async fn most_out(mesh: &Mesh) -> Arc<Mutex<usize>> {
    let most = Arc::new(Mutex::new(0));
    let seen = Arc::clone(&most);
    let events = watch(mesh.workloads(), watcher::Config::default());
    let (listed, lists) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        let (mut out, mut listed) = (BTreeSet::new(), Some(listed));
        let mut events = events.boxed();
        while let Some(event) = events.next().await {
            match event.unwrap() {
                Event::Apply(workload) => {
                    let is_out = ready(&workload).is_none_or(|ready| ready.status != "True");
                    if is_out {
                        out.insert(workload.name_any());
                    } else {
                        out.remove(&workload.name_any());
                    }
                    let mut seen = seen.lock().unwrap();
                    *seen = (*seen).max(out.len());
                }
                Event::InitDone => drop(listed.take().map(|listed| listed.send(()))),
                _ => {}
            }
        }
    });
    lists.await.unwrap();
    most
}

#[tokio::test]
async fn what_peers_must_be_told_anew_takes_one_in_four_of_a_group_out_at_a_time() {
    let mesh = Mesh::start().await;
    let replica = Plan::new(&mesh, 1).start().await;
    let mut sessions = Vec::new();
    for number in 1..=VMS {
        sessions.push(Vm::new(number).join_well(replica.registration()).await);
    }
    // One that is away now follows when it is back.
    let mut away = Vm::new(VMS + 1);
    let (gone, missing) = away.join_well(replica.registration()).await;
    drop(gone);
    let most = most_out(&mesh).await;
    let opaque = "config.linkerd.io/opaque-ports";
    mesh.group(json!({ "template": {
        "metadata": { "annotations": { opaque: "25,3306" } },
        "ports": [{ "name": "http", "port": 80 }, { "name": "mysql", "port": 3306 }],
    }}))
    .await;
    let edited = |workload: &ExternalWorkload, ready: &str| {
        let ports = workload.spec.ports.as_ref().unwrap();
        let numbers = ports.iter().map(|port| port.port).collect::<Vec<_>>();
        workload.annotations()[opaque] == "25,3306" && numbers == [80, 3306] && ready == "True"
    };
    for (_, name) in &sessions {
        mesh.comes_to_be(name, "it is as edited", edited).await;
    }
    let most = *most.lock().unwrap();
    assert!(most > 0, "Linkerd would not have told open streams");
    assert!(most <= usize::from(VMS + 1) / 4, "{most} were out at once");

    shows(&mesh, VMS, "False").await;
    let _back = away.join(replica.registration()).await;
    mesh.comes_to_be(&missing, "it has followed", edited).await;
    shows(&mesh, VMS + 1, "True").await;
}

/// The status of the group says that so many of all are as it describes them, and whether that is all there is to do.
async fn shows(mesh: &Mesh, updated: u8, rolled_out: &str) {
    until("the status of the group says so", || async {
        let group = mesh.groups().get(GROUP).await.ok()?;
        let status = &group.data["status"];
        let counted = status["workloads"] == VMS + 1 && status["updated"] == updated;
        let ready = status["ready"].as_u64()? >= updated.into();
        let conditions = status["conditions"].as_array()?;
        let is_done = &conditions.iter().find(|it| it["type"] == "RolledOut")?["status"];
        let observed = status["observedGeneration"].as_i64() == group.metadata.generation;
        (counted && ready && is_done == rolled_out && observed).then_some(())
    })
    .await;
}
