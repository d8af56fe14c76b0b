//! From a `Hello` to a workload, and what becomes of it by its VM's own word.

use linkerd_harness_api::v1::{health_report::State, leave::Mode};

use super::mesh::{GROUP, NAMESPACE};
use super::replica::Plan;
use super::vm::name;
use super::{Mesh, Session, Vm};

#[tokio::test]
async fn a_vm_becomes_a_workload_and_its_health_its_readiness() {
    let mesh = Mesh::start().await;
    let replica = Plan::new(&mesh, 1).start().await;
    walk(&mesh, replica.registration()).await;
}

/// The life of a VM, with all that is written of it.
pub(super) async fn walk(mesh: &Mesh, addr: std::net::SocketAddr) {
    let mut vm = Vm::new(1);
    let (mut session, assignment) = vm.join(addr).await;
    let name = name(&assignment);
    let told = assignment.workload.unwrap();
    let (made, ready) = mesh.workload(&name).await;
    assert_eq!(ready, None, "nothing is known of its health");
    let metadata = &made.metadata;
    assert_eq!(metadata.uid.as_ref(), Some(&told.uid));
    let group = mesh.groups().get(GROUP).await.unwrap();
    let owners = metadata.owner_references.as_ref().unwrap();
    assert_eq!(owners.len(), 1);
    assert_eq!(owners[0].kind, "ExternalGroup");
    assert_eq!(owners[0].name, GROUP);
    assert_eq!(Some(&owners[0].uid), group.metadata.uid.as_ref());
    assert_eq!(owners[0].controller, Some(true));
    assert_ne!(owners[0].block_owner_deletion, Some(true));
    let labels = metadata.labels.as_ref().unwrap();
    assert_eq!(labels["app"], "training");
    assert_eq!(labels["topology.kubernetes.io/zone"], "zone-a");
    assert_eq!(labels["meshexpansion.io/group"], GROUP);
    let annotations = metadata.annotations.as_ref().unwrap();
    assert_eq!(annotations["config.linkerd.io/opaque-ports"], "25");
    assert_eq!(annotations["meshexpansion.io/hostname"], "vm-1");
    assert_eq!(annotations["meshexpansion.io/instance"].len(), 64);
    assert_eq!(metadata.finalizers, None);
    let spec = &made.spec;
    assert_eq!(spec.mesh_tls.identity, vm.identity);
    assert_eq!(
        spec.mesh_tls.server_name,
        format!("{name}.{NAMESPACE}.external.identity.linkerd.cluster.local")
    );
    assert_eq!(told.server_name, spec.mesh_tls.server_name);
    let ips = spec.workload_ips.as_ref().unwrap();
    assert_eq!(ips.len(), 1);
    assert_eq!(ips[0].ip, "10.77.0.1");
    let ports = spec.ports.as_ref().unwrap();
    assert_eq!(
        (ports[0].name.as_deref(), ports[0].port),
        (Some("http"), 80)
    );

    let seq = session.says(State::Healthy).await;
    let outcome = session.acknowledged(seq).await;
    let (_, ready) = mesh.workload(&name).await;
    assert_eq!(outcome.as_str_name(), "OUTCOME_PERSISTED");
    assert_eq!(
        ready.unwrap().status,
        "True",
        "acknowledged before it was written"
    );
    session.reports(State::Unhealthy).await;
    let (_, ready) = mesh.workload(&name).await;
    let ready = ready.unwrap();
    assert_eq!(
        (&*ready.status, ready.reason.as_deref()),
        ("False", Some("ProbeFailed"))
    );

    leave(mesh, addr, vm, session, &name).await;
}

async fn leave(
    mesh: &Mesh,
    addr: std::net::SocketAddr,
    mut vm: Vm,
    mut session: Session,
    name: &str,
) {
    let uid = mesh.workload(name).await.0.metadata.uid;
    session.leaves(Mode::Drain).await;
    let draining = |workload: &autoregistration::crd::ExternalWorkload, _: &str| {
        let ready = super::mesh::ready(workload).unwrap();
        ready.status == "False" && ready.reason.as_deref() == Some("Draining")
    };
    mesh.comes_to_be(name, "it drains", draining).await;
    session.leaves(Mode::Reboot).await;
    assert_eq!(session.end().await, None);

    let (mut session, assignment) = vm.restarted().join(addr).await;
    assert_eq!(super::vm::name(&assignment), name);
    assert_eq!(mesh.workload(name).await.0.metadata.uid, uid);
    // It fell a moment ago, so it is held for a while.
    session.says(State::Healthy).await;
    mesh.is_ready(name, "True").await;
    session.leaves(Mode::Reboot).await;
    assert_eq!(session.end().await, None);
    mesh.comes_to_be(name, "it drains", draining).await;
    let mut other = Vm::new(9);
    let (mut removed, its_name) = other.join_well(addr).await;
    removed.leaves(Mode::Remove).await;
    assert_eq!(removed.end().await, None);
    // What is removed later than this one would have been.
    mesh.is_gone(&its_name).await;
    mesh.comes_to_be(name, "it is kept", draining).await;

    vm.hello.session_id = vec![7; 16];
    let (mut session, _) = vm.join(addr).await;
    session.leaves(Mode::Remove).await;
    assert_eq!(session.end().await, None);
    mesh.is_gone(name).await;
}
