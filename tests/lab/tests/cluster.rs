//! The walk-through with a real API server: what autoregistration writes there, and nothing else, carries the traffic.
//!
//! Linkerd's destination and policy controllers are its own where `LINKERD2_DESTINATION_BIN` and `LINKERD2_POLICY_BIN` name
//! them, else a STAND-IN (`tests/stand-in-controllers`), which reads only the API server. Etcd, kube-apiserver, RBAC and Linkerd's definition of `ExternalWorkload` are real.

use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use lab::capture::Capture;
use lab::cluster::NAMESPACE;
use lab::host::Host as _;
use lab::lab::Lab;
use lab::seen::{TO_APP, TO_VM};
use lab::story::Story;
use lab::walkthrough::{self, Member, PEER, Silent, VM, walk};
use lab::{docker, net, poll, seen};
use serde_json::{Value, json};

/// A path that nobody on the way may read.
const SECRET: &str = "a-path-that-nobody-on-the-way-may-read";
const PATIENCE: Duration = Duration::from_secs(60);
/// What autoregistration counts: VMs whose session is up.
const SESSIONS: &str = "autoregistration_sessions{stage=\"joined\"}";

#[test]
fn a_vm_of_a_cluster_is_what_its_object_says() -> Result<()> {
    let mut story = Story::begin_in_cluster(env!("CARGO_BIN_EXE_lab"))?;

    let capture = story.then("two VMs join with the README's commands", |lab| {
        println!("{}", lab.control.cluster()?.controllers);
        walk(lab, &[walkthrough::workload()], &mut Silent)?;
        let capture = capture(lab)?;
        let package = lab.package_name()?;
        let join = |member: Member| walk(lab, &member.join_at(NAMESPACE, &package), &mut Silent);
        thread::scope(|scope| {
            let other = scope.spawn(|| join(PEER));
            let joined = join(VM);
            let other = other
                .join()
                .map_err(|_panic| anyhow!("the thread that joins a VM panicked"))?;
            joined.and(other)
        })?;
        Ok(capture)
    })?;
    let vm = story.then("each is an object that is ready and its group's", |lab| {
        is_its_groups(lab, PEER)?;
        is_its_groups(lab, VM)
    })?;
    story.then(
        "traffic flows both ways, as TLS to the server names that the objects say",
        |lab| traffic_is_what_the_objects_say(lab, capture),
    )?;
    story.then(
        "autoregistration killed and back writes nothing: both VMs are what they were",
        nothing_is_written_again,
    )?;
    story.then("traffic goes on while the API server is away", |lab| {
        let cluster = lab.control.cluster()?;
        cluster.api.kill();
        ensure!(
            cluster.workloads(VM.namespace).is_err(),
            "it is still there"
        );
        for _ in 0..3 {
            seen::both_ways(lab)?;
        }
        lab.control.cluster()?.api.restart()
    })?;
    story.then(
        "an application that is down is not ready, and its peer sends nothing there",
        the_application_goes_down,
    )?;
    story.then("once it is up it has traffic again", |lab| {
        lab.peer.get("systemctl start simple-app")?;
        is_ready(lab, PEER)?;
        seen::both_ways(lab)
    })?;
    story.then("a label that the group gets, its workload has", |lab| {
        let api = &lab.control.cluster()?.api;
        let path =
            "/apis/workload.buoyant.io/v1alpha1/namespaces/training/externalgroups/training-vm";
        let mut group = api.get(path)?;
        let metadata = group
            .pointer_mut("/metadata")
            .context("it has no metadata")?;
        *metadata = json!({ "name": "training-vm", "namespace": "training" });
        group["spec"]["template"]["metadata"]["labels"]["tier"] = json!("edge");
        api.apply(&group.to_string())?;
        workload(lab, VM, |it| {
            ensure!(it["metadata"]["labels"]["tier"] == "edge", "it has not");
            Ok(())
        })?;
        seen::both_ways(lab)
    })?;
    story.then("a reboot keeps name and uid", |lab| {
        lab.vm.reboot(&lab.net)?;
        docker::wait(&lab.vm)?;
        let after = is_ready(lab, VM)?;
        for field in ["name", "uid"] {
            let (before, after) = (&vm["metadata"][field], &after["metadata"][field]);
            ensure!(before == after, "its {field} was {before} and is {after}");
        }
        seen::both_ways(lab)
    })?;
    story.then("a stop removes the object, and only it", |lab| {
        lab.vm.get("systemctl stop linkerd-proxy-harness")?;
        poll::until("the object to go", PATIENCE, || {
            let left = lab.control.cluster()?.workloads(VM.namespace)?;
            ensure!(left.is_empty(), "it is there: {left:?}");
            Ok(())
        })?;
        is_ready(lab, PEER).map(|_| ())
    })
}

/// The workload of `member`, once `good` likes it.
fn workload(lab: &mut Lab, member: Member, good: impl Fn(&Value) -> Result<()>) -> Result<Value> {
    let cluster = lab.control.cluster()?;
    let what = format!("the workload of {}/{}", member.namespace, member.group);
    poll::until(&what, PATIENCE, || {
        let mut workloads = cluster.workloads(member.namespace)?;
        ensure!(workloads.len() == 1, "there are {workloads:?}");
        let workload = workloads.remove(0);
        good(&workload).with_context(|| workload.to_string())?;
        Ok(workload)
    })
}

/// The status of condition `Ready`.
fn readiness(workload: &Value) -> Option<&str> {
    let conditions = workload.pointer("/status/conditions")?.as_array()?;
    let ready = conditions.iter().find(|it| it["type"] == "Ready")?;
    ready["status"].as_str()
}

fn is_ready(lab: &mut Lab, member: Member) -> Result<Value> {
    workload(lab, member, |workload| {
        ensure!(readiness(workload) == Some("True"), "it is not ready");
        Ok(())
    })
}

fn is_its_groups(lab: &mut Lab, member: Member) -> Result<Value> {
    let workload = is_ready(lab, member)?;
    let path = format!(
        "/apis/workload.buoyant.io/v1alpha1/namespaces/{}/externalgroups/{}",
        member.namespace, member.group
    );
    let group = lab.control.cluster()?.api.get(&path)?;
    let text = |path: &str| workload.pointer(path).and_then(Value::as_str);
    let uid = group.pointer("/metadata/uid").and_then(Value::as_str);
    ensure!(
        uid.is_some() && text("/metadata/ownerReferences/0/uid") == uid,
        "another owns it: {workload}"
    );
    ensure!(
        text("/metadata/uid").is_some() && text("/metadata/labels/app").is_some(),
        "uid or label is missing: {workload}"
    );
    ensure!(
        text("/spec/meshTLS/identity") == Some(&member.spiffe_id()),
        "another identity: {workload}"
    );
    Ok(workload)
}

/// Everything between the two meshed hosts.
fn capture(lab: &Lab) -> Result<Capture> {
    let between = format!("tcp and host {} and host {}", net::TRAINING_VM, net::PEER);
    Capture::start(&lab.run, &lab.net, &between)
}

fn traffic_is_what_the_objects_say(lab: &mut Lab, capture: Capture) -> Result<()> {
    walk(lab, &[walkthrough::traffic()], &mut Silent)?;
    seen::both_ways(lab)?;
    lab.peer
        .get(&format!("curl -sS --max-time 5 {TO_VM}/{SECRET}"))?;
    lab.vm
        .get(&format!("curl -sS --max-time 5 {TO_APP}/{SECRET}"))?;
    let wire = capture.finish()?;
    let hellos = wire.client_hellos();
    for member in [VM, PEER] {
        let workload = is_ready(lab, member)?;
        let name = workload.pointer("/spec/meshTLS/serverName");
        let name = name.and_then(Value::as_str).unwrap_or_default();
        ensure!(
            hellos.iter().any(|hello| hello.server_name == name),
            "no TLS to `{name}`: {hellos:?}"
        );
    }
    for text in [SECRET, "Welcome from training-vm", "Simple App v1"] {
        ensure!(!wire.shows(text), "`{text}` passed in the clear");
    }
    Ok(())
}

/// uid and resourceVersion of both workloads.
fn versions(lab: &mut Lab) -> Result<Vec<(String, String)>> {
    let mut versions = Vec::new();
    for member in [VM, PEER] {
        let workload = is_ready(lab, member)?;
        let text = |field: &str| {
            workload["metadata"][field]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        };
        versions.push((text("uid"), text("resourceVersion")));
    }
    Ok(versions)
}

fn nothing_is_written_again(lab: &mut Lab) -> Result<()> {
    let before = versions(lab)?;
    lab.control.kill_service()?;
    lab.control.start_service()?;
    poll::until("both VMs to have a session again", PATIENCE, || {
        let metrics = lab.control.admin("/metrics")?;
        let line = metrics.lines().find(|line| line.starts_with(SESSIONS));
        ensure!(line == Some(&format!("{SESSIONS} 2")), "it says {line:?}");
        Ok(())
    })?;
    seen::both_ways(lab)?;
    let after = versions(lab)?;
    ensure!(before == after, "before {before:?}, after {after:?}");
    Ok(())
}

fn the_application_goes_down(lab: &mut Lab) -> Result<()> {
    lab.peer.get("systemctl stop simple-app")?;
    workload(lab, PEER, |workload| {
        ensure!(readiness(workload) == Some("False"), "it is ready");
        Ok(())
    })?;
    // Its proxy is told a moment later, and closes what it has open to the peer.
    poll::until("the VM to send nothing there", PATIENCE, || {
        let capture = capture(lab)?;
        let request = format!("curl -sS --max-time 5 -o /dev/null -w '%{{http_code}}' {TO_APP}");
        let answer = lab.vm.sh(&request)?;
        let wire = capture.finish()?;
        ensure!(!answer.stdout.starts_with('2'), "it was answered");
        let sent = wire.segments().len();
        ensure!(sent == 0, "{sent} segments passed");
        Ok(())
    })
}
