//! Somebody else has installed a definition of `ExternalGroup`. Its groups are served all the same, and what it has no
//! field for comes from annotations.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, Patch, PatchParams};
use lab::apiserver::ApiServer;
use linkerd_harness_api::v1::health_report::State;
use serde_json::{Value, json};

use super::mesh::GROUP;
use super::replica::Plan;
use super::{Mesh, Vm};
use crate::cluster::{Cluster, definition_name};

#[tokio::test]
async fn groups_of_somebody_else_s_definition_are_served_and_annotations_say_what_it_cannot() {
    let server = tokio::task::spawn_blocking(|| ApiServer::start().unwrap());
    let server = server.await.unwrap();
    let cluster = Cluster::at(&server).await;
    let mut theirs: Value = serde_norway::from_str(crate::foreign::DEFINITION).unwrap();
    let port = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/probes/items/properties/httpGet/properties/port";
    *theirs.pointer_mut(port).unwrap() = json!({ "x-kubernetes-int-or-string": true });
    cluster
        .install(&serde_json::from_value(theirs).unwrap())
        .await;
    let mesh = Mesh::on(server, &cluster).await;
    let annotations = json!({
        "meshexpansion.io/probes": "[{tcpSocket: {port: http}}]",
        "meshexpansion.io/access": "{identities: ['spiffe://root.linkerd.cluster.local/vms/1']}",
    });
    let patch = Patch::Merge(json!({
        "metadata": { "annotations": annotations },
        // This definition drops it without a word.
        "spec": { "access": { "maxWorkloads": 0 } },
    }));
    let groups = mesh.groups();
    let group = groups.patch(GROUP, &PatchParams::default(), &patch).await;
    assert_eq!(group.unwrap().data["spec"].get("access"), None);

    let replica = Plan::new(&mesh, 1).start().await;
    let addr = replica.registration();
    let mut able = Vm::new(1);
    able.hello.capabilities = ["pending", "probe-tcp", "probe-grpc"]
        .map(str::to_owned)
        .into();
    let (_session, told) = able.join(addr).await;
    assert_eq!(told.probes.len(), 2, "{:?}", told.probes);
    assert!(told.probes[0].http_get.is_some() && told.probes[1].tcp_socket.is_some());
    // A harness that does not know the kind is given one that fails: nobody has looked at that port.
    let mut unable = Vm::new(1);
    unable.hello.stream_seq = 1;
    let (session_of_it, told_it) = unable.join(addr).await;
    assert_eq!(told_it.probes[1].tcp_socket, None);
    let instead = told_it.probes[1].http_get.as_ref().unwrap();
    assert_eq!(instead.host, "255.255.255.255");
    drop(session_of_it);
    able.hello.stream_seq = 2;
    let (mut session, told) = able.join(addr).await;
    assert_eq!(Vm::new(2).is_refused(addr).await, "IDENTITY_NOT_ALLOWED");
    session.reports(State::Healthy).await;
    mesh.is_ready(&super::vm::name(&told), "True").await;

    // A replica installs nothing, and takes nothing over.
    let all = Api::<CustomResourceDefinition>::all(cluster.client.clone());
    let still = all.get(definition_name()).await.unwrap();
    assert_eq!(
        still.metadata.labels.unwrap()["app.kubernetes.io/managed-by"],
        "somebody-else"
    );
}
