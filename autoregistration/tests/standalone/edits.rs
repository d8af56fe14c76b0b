//! Manifests that change while the control plane runs, and manifests that are wrong.

use autoregistration::settled::LOOK;
use linkerd_harness_api::v1::controller_message::Kind;

use crate::lab::{Files, GROUP, Lab, SERVICE};
use crate::vm::{Session, hello};

async fn session(lab: &Lab) -> Session {
    Session::open(lab.channel().await, hello()).await.unwrap()
}

#[tokio::test]
async fn a_vm_waits_for_its_group_and_is_assigned_when_it_appears() {
    let lab = Lab::start().await;
    lab.files.remove("manifests/group.yaml");
    lab.files.write(
        "manifests/other.yaml",
        &SERVICE.replace("training-vm,", "other,"),
    );
    lab.view("without the group", |view| view.services.len() == 2)
        .await;
    let mut vm = session(&lab).await;
    let waits = vm.next().await.unwrap();
    assert!(
        matches!(&waits, Some(Kind::Pending(pending)) if pending.reason == "GROUP_NOT_FOUND"),
        "{waits:?}"
    );
    lab.files.write("manifests/group.yaml", GROUP);
    vm.assignment().await;
}

#[tokio::test]
async fn an_edit_of_the_group_is_pushed_to_its_vms() {
    let lab = Lab::start().await;
    let mut vm = session(&lab).await;
    let first = vm.assignment().await;
    lab.files.write(
        "manifests/group.yaml",
        &GROUP.replace("- port: 80", "- port: 8080\n      name: web"),
    );
    let second = vm.assignment().await;
    assert_ne!(second.config_hash, first.config_hash);
    let workload = second.workload.unwrap();
    assert_eq!(workload.ports[0].port, 8080);
    assert_eq!(workload.name, first.workload.unwrap().name);
}

#[tokio::test]
async fn a_bad_edit_keeps_the_last_good_state() {
    let lab = Lab::start().await;
    let mut vm = session(&lab).await;
    let first = vm.assignment().await;
    lab.files.write("manifests/group.yaml", "kind: [");
    lab.files.write(
        "manifests/other.yaml",
        &SERVICE.replace("training-vm,", "other,"),
    );
    // Longer than a good edit takes; nothing of the bad set is taken, not even its good file.
    tokio::time::sleep(LOOK * 5).await;
    let view = lab.standalone.view.borrow().clone();
    assert_eq!((view.services.len(), view.members.len()), (1, 1));
    lab.files
        .write("manifests/group.yaml", &GROUP.replace("/ready", "/healthz"));
    let second = vm.assignment().await;
    assert_ne!(second.config_hash, first.config_hash);
    lab.view("with the other service", |view| view.services.len() == 2)
        .await;
}

#[tokio::test]
async fn bad_manifests_at_the_start_are_refused_with_file_document_and_field() {
    let files = Files::new();
    files.write(
        "manifests/group.yaml",
        &format!("{SERVICE}---\n{}", GROUP.replace("port: 80,", "port: 0,")),
    );
    files.remove("manifests/service.yaml");
    let error = files.start(&[]).await.unwrap_err();
    assert!(error.is_configuration());
    assert!(
        error
            .to_string()
            .contains("`group.yaml`, document 2, spec.probes[0].httpGet.port: `0` is not a port"),
        "{error}"
    );
}

/// A directory whose file system is gone looks empty; its VMs would all leave the mesh.
#[tokio::test]
async fn a_directory_that_is_suddenly_empty_keeps_the_last_good_state() {
    let lab = Lab::start().await;
    let mut vm = session(&lab).await;
    vm.assignment().await;
    lab.files.remove("manifests/group.yaml");
    lab.files.remove("manifests/service.yaml");
    tokio::time::sleep(LOOK * 6).await;
    let view = lab.standalone.view.borrow().clone();
    assert_eq!((view.services.len(), view.members.len()), (1, 1));
    lab.files.write("manifests/service.yaml", SERVICE);
    lab.view("without the group", |view| view.members.is_empty())
        .await;
}

#[tokio::test]
async fn labels_of_a_vm_count_as_far_as_the_group_s_file_allows() {
    let lab = Lab::start().await;
    let allows = |keys: &str| format!("{GROUP}  access: {{ allowedLabels: [{keys}] }}\n");
    let mut hello = hello();
    hello.labels = [("rack".to_owned(), "r7".to_owned())].into();
    let mut vm = Session::open(lab.channel().await, hello).await.unwrap();
    assert!(vm.assignment().await.warnings[0].contains("`rack`"));
    let has = |rack: bool| {
        move |view: &autoregistration::view::View| {
            let labels = view.members.values().map(|member| &member.labels);
            labels.filter(|labels| labels.contains_key("rack")).count() == usize::from(rack)
        }
    };
    lab.files.write("manifests/group.yaml", &allows("rack"));
    lab.view("with its rack", has(true)).await;
    assert!(vm.assignment().await.warnings.is_empty());
    lab.files.write("manifests/group.yaml", &allows("row"));
    lab.view("without", has(false)).await;
}
