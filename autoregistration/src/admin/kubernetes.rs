//! The state as the lists that a Kubernetes API would answer, so that tools and eyes which know those can read it.

use std::time::Duration;

use linkerd_harness_api::v1;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::manifests::Group;
use crate::registry::name;
use crate::registry::objects::{Objects, WorkloadStatus};
use crate::store;
use crate::view::{Member, Service, TargetPort};

const SERVICES: &str = "/api/v1/services";
const GROUPS: &str = "/apis/workload.buoyant.io/v1alpha1/externalgroups";
const WORKLOADS: &str = "/apis/workload.linkerd.io/v1beta1/externalworkloads";

/// Whether there is a list at `path`.
pub(super) fn has(path: &str) -> bool {
    [SERVICES, GROUPS, WORKLOADS].contains(&path.trim_end_matches('/'))
}

/// The list at `path`.
pub(super) fn list(path: &str, objects: &Objects, started: OffsetDateTime) -> Option<Value> {
    let (version, kind, items) = match path.trim_end_matches('/') {
        SERVICES => (
            "v1",
            "ServiceList",
            objects.view.services.values().map(service).collect(),
        ),
        GROUPS => (
            "workload.buoyant.io/v1alpha1",
            "ExternalGroupList",
            objects
                .manifests
                .groups
                .values()
                .map(|entry| group(entry, objects))
                .collect(),
        ),
        WORKLOADS => (
            "workload.linkerd.io/v1beta1",
            "ExternalWorkloadList",
            objects
                .view
                .members
                .values()
                .zip(&objects.workloads)
                .map(|(member, status)| workload(member, status, started))
                .collect::<Vec<_>>(),
        ),
        _ => return None,
    };
    Some(json!({
        "apiVersion": version,
        "kind": kind,
        "metadata": {},
        "items": items,
    }))
}

fn service(service: &Service) -> Value {
    let ips = service
        .cluster_ips
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>();
    let ips = if ips.is_empty() {
        vec!["None".to_owned()]
    } else {
        ips
    };
    let ports = service
        .ports
        .iter()
        .map(|port| {
            let target = match &port.target {
                TargetPort::Number(number) => json!(number),
                TargetPort::Name(name) => json!(name),
            };
            json!({ "port": port.port, "protocol": "TCP", "targetPort": target })
        })
        .collect::<Vec<_>>();
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": service.name,
            "namespace": service.namespace,
            "uid": name::uid("service", &format!("{}/{}", service.namespace, service.name)),
        },
        "spec": {
            "clusterIP": ips.first(),
            "clusterIPs": ips,
            "ports": ports,
            "selector": service.selector,
            "type": "ClusterIP",
        },
        "status": { "loadBalancer": {} },
    })
}

fn group(group: &Group, objects: &Objects) -> Value {
    let of_group = |member: &&Member| {
        (member.namespace.as_str(), member.group.as_str())
            == (group.namespace.as_str(), group.name.as_str())
    };
    let workloads = objects.view.members.values().filter(of_group).count();
    let ready = objects
        .view
        .members
        .values()
        .filter(of_group)
        .filter(|member| member.ready)
        .count();
    json!({
        "apiVersion": "workload.buoyant.io/v1alpha1",
        "kind": "ExternalGroup",
        "metadata": {
            "name": group.name,
            "namespace": group.namespace,
            "uid": group_uid(&group.namespace, &group.name),
        },
        "spec": {
            "probes": group.probes.iter().map(probe).collect::<Vec<_>>(),
            "template": {
                "metadata": { "labels": group.labels, "annotations": group.annotations },
                "ports": ports(&group.ports),
            },
        },
        "status": { "workloads": workloads, "readyWorkloads": ready },
    })
}

fn workload(member: &Member, status: &WorkloadStatus, started: OffsetDateTime) -> Value {
    let mut annotations = member.annotations.clone();
    annotations.insert(store::INSTANCE.to_owned(), status.fingerprint.clone());
    if !status.hostname.is_empty() {
        annotations.insert(store::HOSTNAME.to_owned(), status.hostname.clone());
    }
    let at = |since: Duration| {
        (started + since)
            .replace_nanosecond(0)
            .ok()
            .and_then(|at| at.format(&Rfc3339).ok())
    };
    json!({
        "apiVersion": "workload.linkerd.io/v1beta1",
        "kind": "ExternalWorkload",
        "metadata": {
            "name": member.name,
            "namespace": member.namespace,
            "uid": status.uid,
            "creationTimestamp": at(status.created),
            "labels": member.labels,
            "annotations": annotations,
            "ownerReferences": [{
                "apiVersion": "workload.buoyant.io/v1alpha1",
                "kind": "ExternalGroup",
                "name": member.group,
                "uid": group_uid(&member.namespace, &member.group),
                "controller": true,
                "blockOwnerDeletion": false,
            }],
        },
        "spec": {
            "meshTLS": { "identity": member.identity, "serverName": member.server_name },
            "ports": ports(&member.ports),
            "workloadIPs": member
                .ips
                .iter()
                .map(|ip| json!({ "ip": ip.to_string() }))
                .collect::<Vec<_>>(),
        },
        "status": {
            "conditions": [{
                "type": "Ready",
                "status": status.condition.ready.status.as_str(),
                "reason": status.condition.ready.reason,
                "message": status.condition.ready.message,
                "lastTransitionTime": at(status.condition.since),
            }],
        },
    })
}

fn group_uid(namespace: &str, group: &str) -> String {
    name::uid("group", &format!("{namespace}/{group}"))
}

fn ports(ports: &[(String, u16)]) -> Vec<Value> {
    ports
        .iter()
        .map(|(name, port)| {
            if name.is_empty() {
                json!({ "port": port, "protocol": "TCP" })
            } else {
                json!({ "name": name, "port": port, "protocol": "TCP" })
            }
        })
        .collect()
}

fn probe(probe: &v1::Probe) -> Value {
    let get = probe.http_get.as_ref().map(|get| {
        json!({
            "host": get.host,
            "httpHeaders": get
                .headers
                .iter()
                .map(|header| json!({ "name": header.name, "value": header.value }))
                .collect::<Vec<_>>(),
            "path": get.path,
            "port": get.port,
            "scheme": get.scheme,
        })
    });
    let socket = probe
        .tcp_socket
        .as_ref()
        .map(|socket| json!({ "host": socket.host, "port": socket.port }));
    let grpc = probe
        .grpc
        .as_ref()
        .map(|grpc| json!({ "port": grpc.port, "service": grpc.service }));
    let exec = probe
        .exec
        .as_ref()
        .map(|exec| json!({ "command": exec.command }));
    let mut shown = json!({
        "initialDelaySeconds": probe.initial_delay_seconds,
        "periodSeconds": probe.period_seconds,
        "timeoutSeconds": probe.timeout_seconds,
        "successThreshold": probe.success_threshold,
        "failureThreshold": probe.failure_threshold,
    });
    for (kind, value) in [
        ("httpGet", get),
        ("tcpSocket", socket),
        ("grpc", grpc),
        ("exec", exec),
    ] {
        if let Some(value) = value {
            shown[kind] = value;
        }
    }
    shown
}
