//! The admin port.

use std::net::SocketAddr;

use linkerd_harness_api::v1;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::lab::{DEADLINE, Lab};
use crate::pki::VM_ID;
use crate::vm::{Session, hello};

/// Status and body.
pub(crate) async fn request(addr: SocketAddr, method: &str, path: &str) -> (u16, String) {
    let mut stream = tokio::net::TcpStream::connect(addr).await.unwrap();
    let head = format!("{method} {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let read = tokio::time::timeout(DEADLINE, stream.read_to_string(&mut answer)).await;
    read.unwrap().unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

async fn items(addr: SocketAddr, path: &str) -> Vec<Value> {
    let (status, body) = request(addr, "GET", path).await;
    assert_eq!(status, 200, "{path}");
    let mut list: Value = serde_json::from_str(&body).unwrap();
    list["items"].as_array_mut().unwrap().drain(..).collect()
}

#[tokio::test]
async fn the_state_is_shown_as_kubernetes_would_show_it() {
    let lab = Lab::start().await;
    let mut vm = Session::open(lab.channel().await, hello()).await.unwrap();
    let name = vm.assignment().await.workload.unwrap().name;
    vm.report(2, v1::health_report::State::Healthy).await;
    vm.next().await.unwrap();

    let admin = lab.standalone.addresses.admin;
    let workloads = items(admin, "/apis/workload.linkerd.io/v1beta1/externalworkloads").await;
    assert_eq!(workloads.len(), 1);
    let workload = &workloads[0];
    assert_eq!(workload["metadata"]["name"], name);
    assert_eq!(workload["spec"]["meshTLS"]["identity"], VM_ID);
    assert_eq!(workload["spec"]["workloadIPs"][0]["ip"], "10.77.0.2");
    let condition = &workload["status"]["conditions"][0];
    assert_eq!(
        (&condition["type"], &condition["status"]),
        (&"Ready".into(), &"True".into())
    );
    assert_eq!(condition["reason"], "ProbeSucceeded");
    assert_eq!(condition["message"], "GET /ready: 200");
    let groups = items(admin, "/apis/workload.buoyant.io/v1alpha1/externalgroups").await;
    assert_eq!(groups[0]["spec"]["probes"][0]["httpGet"]["path"], "/ready");
    assert_eq!(groups[0]["status"]["readyWorkloads"], 1);
    assert_eq!(
        workload["metadata"]["ownerReferences"][0]["uid"],
        groups[0]["metadata"]["uid"]
    );
    let services = items(admin, "/api/v1/services").await;
    let ip = services[0]["spec"]["clusterIP"].as_str().unwrap();
    assert!(ip.starts_with("10.96."), "{ip}");
    let (_, hosts) = request(admin, "GET", "/hosts").await;
    assert_eq!(
        hosts,
        format!("{ip} training-vm.training.svc.cluster.local\n")
    );
    let (_, metrics) = request(admin, "GET", "/metrics").await;
    for line in [
        "autoregistration_hellos_total{outcome=\"ASSIGNED\"} 1",
        "autoregistration_sessions{stage=\"joined\"} 1",
        "autoregistration_workloads{state=\"ready\"} 1",
        "autoregistration_workloads{state=\"unready\"} 0",
        "autoregistration_restored 1",
    ] {
        assert!(
            metrics.lines().any(|found| found == line),
            "{line} is not in\n{metrics}"
        );
    }
}

#[tokio::test]
async fn it_is_live_and_ready_and_takes_nothing_but_get() {
    let lab = Lab::start().await;
    let admin = lab.standalone.addresses.admin;
    assert_eq!(request(admin, "GET", "/live").await.0, 200);
    assert_eq!(request(admin, "GET", "/ready").await.0, 200);
    assert_eq!(request(admin, "GET", "/none").await.0, 404);
    assert_eq!(request(admin, "DELETE", "/api/v1/services").await.0, 405);
    assert!(request(admin, "GET", "/").await.1.contains("/metrics"));
}
