//! Which `EndpointSlice` Linkerd's controller writes for a Service: its workloads, ready or not, and their ports.
//!
//! One slice has what one set of ports has; of Linkerd's limit of 100 endpoints nothing is seen here.

use std::collections::BTreeMap;

use autoregistration::crd::ExternalWorkload;
use k8s_openapi::api::core::v1::{ObjectReference, Service, ServicePort};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt as _;
use kube::api::ObjectMeta;

use crate::picture::is_ready;

pub(crate) const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Who has written a slice.
pub(crate) const MANAGED_BY: (&str, &str) = (
    "endpointslice.kubernetes.io/managed-by",
    "linkerd-external-workloads-controller",
);
const ZONE: &str = "topology.kubernetes.io/zone";

/// Name and number of each port; slices differ by it.
type Ports = Vec<(String, i32)>;

/// The slices of all Services, by (namespace, name).
pub(crate) fn wanted(
    services: &[&Service],
    workloads: &[&ExternalWorkload],
) -> BTreeMap<(String, String), EndpointSlice> {
    let mut slices = BTreeMap::new();
    for service in services.iter().copied() {
        let mut by_ports: BTreeMap<Ports, Vec<Endpoint>> = BTreeMap::new();
        for workload in workloads.iter().filter(|it| selects(service, it)) {
            let Some(endpoint) = endpoint(workload) else {
                continue;
            };
            let endpoints = by_ports.entry(ports(service, workload)).or_default();
            endpoints.push(endpoint);
        }
        for (number, (ports, endpoints)) in by_ports.into_iter().enumerate() {
            let slice = slice(service, number, ports, endpoints);
            let key = (slice.namespace().unwrap_or_default(), slice.name_any());
            slices.insert(key, slice);
        }
    }
    slices
}

fn selects(service: &Service, workload: &ExternalWorkload) -> bool {
    let selector = service.spec.as_ref().and_then(|it| it.selector.as_ref());
    let labels = workload.labels();
    service.namespace() == workload.namespace()
        && selector.is_some_and(|selector| {
            let mut terms = selector.iter();
            !selector.is_empty() && terms.all(|(key, value)| labels.get(key) == Some(value))
        })
}

/// The ports that the Service and the workload have in common.
fn ports(service: &Service, workload: &ExternalWorkload) -> Ports {
    let spec = service.spec.as_ref();
    let ports = spec.and_then(|spec| spec.ports.as_ref()).into_iter();
    ports
        .flatten()
        .filter_map(|port| {
            let number = number(port, workload)?;
            Some((port.name.clone().unwrap_or_default(), number))
        })
        .collect()
}

fn number(port: &ServicePort, workload: &ExternalWorkload) -> Option<i32> {
    let protocol = |of: Option<&str>| of.unwrap_or("TCP").to_owned();
    let ports = workload.spec.ports.iter().flatten();
    let mut same =
        ports.filter(|own| protocol(own.protocol.as_deref()) == protocol(port.protocol.as_deref()));
    let found = match &port.target_port {
        None => same.find(|own| i32::from(own.port) == port.port),
        Some(IntOrString::Int(target)) => same.find(|own| i32::from(own.port) == *target),
        Some(IntOrString::String(name)) => same.find(|own| own.name.as_ref() == Some(name)),
    };
    found.map(|own| own.port.into())
}

/// `None` without an address of version 4.
fn endpoint(workload: &ExternalWorkload) -> Option<Endpoint> {
    let ips = workload.spec.workload_ips.iter().flatten();
    let addresses = ips
        .map(|it| it.ip.clone())
        .filter(|ip| ip.parse::<std::net::Ipv4Addr>().is_ok())
        .collect::<Vec<_>>();
    let ready = Some(is_ready(workload));
    (!addresses.is_empty()).then(|| Endpoint {
        addresses,
        conditions: Some(EndpointConditions {
            ready,
            serving: ready,
            terminating: Some(false),
        }),
        target_ref: Some(ObjectReference {
            kind: Some("ExternalWorkload".to_owned()),
            namespace: workload.namespace(),
            name: Some(workload.name_any()),
            uid: workload.uid(),
            ..ObjectReference::default()
        }),
        zone: workload.labels().get(ZONE).cloned(),
        ..Endpoint::default()
    })
}

fn slice(
    service: &Service,
    number: usize,
    ports: Ports,
    endpoints: Vec<Endpoint>,
) -> EndpointSlice {
    let name = service.name_any();
    let (key, value) = MANAGED_BY;
    let owner = OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Service".to_owned(),
        name: name.clone(),
        uid: service.uid().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    };
    EndpointSlice {
        metadata: ObjectMeta {
            namespace: service.namespace(),
            name: Some(format!("linkerd-external-{name}-{number}")),
            labels: Some(BTreeMap::from([
                (SERVICE_NAME.to_owned(), name),
                (key.to_owned(), value.to_owned()),
            ])),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        address_type: "IPv4".to_owned(),
        endpoints: Some(endpoints),
        ports: Some(
            ports
                .into_iter()
                .map(|(name, port)| EndpointPort {
                    name: Some(name),
                    port: Some(port),
                    protocol: Some("TCP".to_owned()),
                    ..EndpointPort::default()
                })
                .collect(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn workload(name: &str, port: u16, ready: &str) -> ExternalWorkload {
        serde_json::from_value(json!({
            "metadata": { "name": name, "namespace": "training", "labels": { "app": "vm" } },
            "spec": {
                "meshTLS": { "identity": "spiffe://a/b", "serverName": "vm-1.example" },
                "ports": [{ "name": "http", "port": port }],
                "workloadIPs": [{ "ip": "10.77.0.4" }],
            },
            "status": { "conditions": [{ "type": "Ready", "status": ready }] },
        }))
        .unwrap()
    }

    fn service(namespace: &str) -> Service {
        serde_json::from_value(json!({
            "metadata": { "name": "vm", "namespace": namespace },
            "spec": { "selector": { "app": "vm" }, "ports": [{ "port": 80, "targetPort": "http" }] },
        }))
        .unwrap()
    }

    #[test]
    fn workloads_with_the_same_ports_share_a_slice_whether_or_not_they_are_ready() {
        let workloads = [
            workload("a", 80, "True"),
            workload("b", 80, "Unknown"),
            workload("c", 81, "True"),
        ];
        let workloads: Vec<_> = workloads.iter().collect();
        let (here, elsewhere) = (service("training"), service("other"));
        let slices = wanted(&[&here, &elsewhere], &workloads);
        let seen: Vec<Vec<_>> = slices
            .values()
            .map(|slice| {
                let endpoints = slice.endpoints.iter().flatten();
                let ready = |it: &Endpoint| it.conditions.as_ref().and_then(|it| it.ready);
                endpoints.map(ready).collect()
            })
            .collect();
        assert_eq!(seen, [vec![Some(true), Some(false)], vec![Some(true)]]);
    }
}
