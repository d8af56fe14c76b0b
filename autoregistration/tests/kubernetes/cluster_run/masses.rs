//! Many VMs vanish at once: that is the network, or us, rather than all of them.

use std::time::Duration;

use k8s_openapi::api::events::v1::Event;
use kube::api::{Api, ListParams};
use linkerd_harness_api::v1::health_report::State;
use linkerd_harness_api::v1::leave::Mode;

use super::mesh::{GROUP, NAMESPACE, until};
use super::replica::Replica;
use super::vm::{Session, name};
use super::{Mesh, Vm};

const GRACE: Duration = Duration::from_secs(5);

async fn mass_loss(leader: &Replica, active: u64) {
    until("the leader has seen it", || async {
        let now = leader.metric("autoregistration_mass_loss_active").await;
        (now == active).then_some(())
    })
    .await;
}

#[tokio::test]
async fn when_half_of_the_vms_vanish_at_once_none_is_marked_and_what_the_others_say_counts() {
    let mesh = Mesh::start().await;
    let replicas = mesh.three(|plan| plan.grace(GRACE)).await;
    let place = |number: usize| replicas[number % 3].registration();
    let mut vms = (1..=20).map(Vm::new).collect::<Vec<_>>();
    let joining = vms.iter_mut().enumerate();
    let joining = joining.map(|(number, vm)| vm.join_well(place(number)));
    let mut here: Vec<(Session, String)> = futures::future::join_all(joining).await;
    // From then on whoever is missed is called lost.
    replicas[0].looks("COMPLETE", 1).await;
    let before = mesh.versions().await;
    let gone = here.split_off(10);
    let names = gone.iter().map(|(_, name)| name.clone());
    let names = names.collect::<Vec<_>>();
    drop(gone);
    mass_loss(&replicas[0], 1).await;

    let (sick, workload) = &mut here[0];
    sick.reports(State::Unhealthy).await;
    mesh.is_ready(workload, "False").await;
    let (leaving, left) = &mut here[1];
    leaving.leaves(Mode::Remove).await;
    assert_eq!(leaving.end().await, None);
    mesh.is_gone(left).await;
    replicas[0].looks("SUSPENDED", 3).await;
    let after = mesh.versions().await;
    for name in &names {
        assert_eq!(after.get(name), before.get(name), "{name}");
    }
    let events = Api::<Event>::namespaced(mesh.client.clone(), NAMESPACE);
    until("it is said of the group", || async {
        let all = events.list(&ListParams::default()).await.ok()?;
        let is_meant = |event: &Event| {
            let regarding = event.regarding.as_ref();
            event.reason.as_deref() == Some("MassLoss")
                && regarding.and_then(|it| it.name.as_deref()) == Some(GROUP)
        };
        all.items.iter().any(is_meant).then_some(())
    })
    .await;

    let returning = vms.iter_mut().enumerate().skip(10);
    let returning = returning.map(|(number, vm)| vm.join(place(number + 1)));
    let back = futures::future::join_all(returning).await;
    let told = back.iter().map(|(_, told)| name(told));
    assert_eq!(told.collect::<Vec<_>>(), names);
    mass_loss(&replicas[0], 0).await;
    replicas[0].looks("COMPLETE", 2).await;
    let after = mesh.versions().await;
    for name in &names {
        assert_eq!(after.get(name), before.get(name), "{name}");
    }
}
