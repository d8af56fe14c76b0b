//! Our types write what Linkerd's definition of `ExternalWorkload` takes, and read it back without a loss.

use autoregistration::crd::external_workload::{
    Condition, ExternalWorkload, ExternalWorkloadSpec, ExternalWorkloadStatus, MeshTls, Port,
    WorkloadIp,
};
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::cluster::Cluster;

const DEFINITION: &str = include_str!("externalworkloads.yaml");

#[tokio::test]
async fn a_workload_is_written_and_read_back_and_its_status_is_a_subresource() {
    let cluster = Cluster::shared().await;
    cluster
        .install(&serde_norway::from_str(DEFINITION).unwrap())
        .await;
    cluster.namespace("linkerd-types").await;
    let workloads = Api::<ExternalWorkload>::namespaced(cluster.client.clone(), "linkerd-types");
    let ready = Condition {
        type_: "Ready".to_owned(),
        status: "True".to_owned(),
        reason: Some("ProbeSucceeded".to_owned()),
        message: Some(String::new()),
        last_probe_time: None,
        last_transition_time: Some(serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap()),
    };
    let status = ExternalWorkloadStatus {
        conditions: vec![ready],
    };
    let spec = ExternalWorkloadSpec {
        mesh_tls: MeshTls {
            identity: "spiffe://root.linkerd.cluster.local/a".to_owned(),
            server_name: "a.b.external.identity.linkerd.cluster.local".to_owned(),
        },
        ports: Some(vec![Port {
            name: Some("web".to_owned()),
            port: 80,
            protocol: Some("TCP".to_owned()),
        }]),
        workload_ips: Some(vec![
            WorkloadIp {
                ip: "10.0.0.1".to_owned(),
            },
            WorkloadIp {
                ip: "fd00::1".to_owned(),
            },
        ]),
    };
    let mut workload = ExternalWorkload::new("a", spec.clone());
    workload.status = Some(status.clone());
    let created = workloads
        .create(&PostParams::default(), &workload)
        .await
        .unwrap();
    assert_eq!(created.spec, spec);
    assert_eq!(
        created.status, None,
        "a status counts only through its subresource"
    );

    let patch = Patch::Merge(json!({ "status": status }));
    let patched = workloads
        .patch_status("a", &PatchParams::default(), &patch)
        .await
        .unwrap();
    assert_eq!(patched.status, Some(status));

    workload.metadata.name = Some("b".to_owned());
    workload.spec.workload_ips = Some(vec![WorkloadIp::default(); 3]);
    let refused = workloads
        .create(&PostParams::default(), &workload)
        .await
        .unwrap_err();
    assert!(
        refused.to_string().contains("must have at most 2 items"),
        "{refused}"
    );
}
