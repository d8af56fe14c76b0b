//! What Linkerd makes of `ExternalWorkload`s and Services: who is a member, and who is behind a Service.

use std::net::IpAddr;

use autoregistration::crd::ExternalWorkload;
use autoregistration::crd::external_workload::Port;
use autoregistration::view::{Member, Service, ServicePort, Settings, TargetPort, View};
use ipnet::IpNet;
use k8s_openapi::api::core::v1;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt as _;

/// The port of a workload by this name is its proxy's.
pub(crate) const PROXY_PORT: &str = "linkerd-proxy";
/// Its proxy's port when it names none.
pub(crate) const PROXY_INBOUND_PORT: u16 = 4143;
/// Linkerd's defaults.
const CLUSTER_NETWORKS: [&str; 5] = [
    "10.0.0.0/8",
    "100.64.0.0/10",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "fd00::/8",
];

/// The mesh that these objects make.
pub(crate) fn view<'a>(
    workloads: impl Iterator<Item = &'a ExternalWorkload>,
    services: impl Iterator<Item = &'a v1::Service>,
) -> View {
    View {
        restored: true,
        settings: Settings {
            cluster_domain: "cluster.local".to_owned(),
            cluster_networks: CLUSTER_NETWORKS
                .iter()
                .filter_map(|network| network.parse::<IpNet>().ok())
                .collect(),
            default_inbound_policy: "all-unauthenticated".to_owned(),
        },
        members: workloads
            .map(member)
            .map(|member| ((member.namespace.clone(), member.name.clone()), member))
            .collect(),
        services: services
            .map(service)
            .map(|service| ((service.namespace.clone(), service.name.clone()), service))
            .collect(),
    }
}

fn member(workload: &ExternalWorkload) -> Member {
    let spec = &workload.spec;
    let tcp = |port: &&Port| is_tcp(port.protocol.as_deref());
    let ports = spec.ports.iter().flatten().filter(tcp);
    let name = |port: &Port| port.name.clone().unwrap_or_default();
    let (proxy, ports): (Vec<_>, Vec<_>) = ports
        .map(|port| (name(port), port.port))
        .partition(|(name, _)| name == PROXY_PORT);
    let addresses = spec.workload_ips.iter().flatten();
    let owner = match workload.owner_references() {
        [owner] => owner.name.clone(),
        _ => String::new(),
    };
    Member {
        namespace: workload.namespace().unwrap_or_default(),
        name: workload.name_any(),
        group: owner,
        labels: workload.labels().clone(),
        annotations: workload.annotations().clone(),
        ips: addresses.filter_map(|it| it.ip.parse().ok()).collect(),
        ports,
        proxy_inbound_port: proxy.first().map_or(PROXY_INBOUND_PORT, |(_, port)| *port),
        identity: spec.mesh_tls.identity.clone(),
        server_name: spec.mesh_tls.server_name.clone(),
        ready: is_ready(workload),
    }
}

/// `Unknown`, or no condition at all, is not ready.
pub(crate) fn is_ready(workload: &ExternalWorkload) -> bool {
    let mut conditions = workload.status.iter().flat_map(|status| &status.conditions);
    conditions.any(|it| it.type_ == "Ready" && it.status == "True")
}

fn service(object: &v1::Service) -> Service {
    let spec = object.spec.clone().unwrap_or_default();
    let ports = spec.ports.into_iter().flatten();
    Service {
        namespace: object.namespace().unwrap_or_default(),
        name: object.name_any(),
        // A headless one says `None`.
        cluster_ips: spec
            .cluster_ips
            .into_iter()
            .flatten()
            .filter_map(|ip| ip.parse::<IpAddr>().ok())
            .collect(),
        ports: ports
            .filter(|port| is_tcp(port.protocol.as_deref()))
            .filter_map(|port| {
                let number = u16::try_from(port.port).ok()?;
                let target = match port.target_port {
                    None => TargetPort::Number(number),
                    Some(IntOrString::Int(target)) => {
                        TargetPort::Number(u16::try_from(target).ok()?)
                    }
                    Some(IntOrString::String(name)) => TargetPort::Name(name),
                };
                Some(ServicePort {
                    port: number,
                    target,
                })
            })
            .collect(),
        selector: spec.selector.unwrap_or_default(),
    }
}

fn is_tcp(protocol: Option<&str>) -> bool {
    protocol.is_none_or(|protocol| protocol == "TCP")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn workload(ready: &str) -> ExternalWorkload {
        serde_json::from_value(json!({
            "apiVersion": "workload.linkerd.io/v1beta1",
            "kind": "ExternalWorkload",
            "metadata": { "name": "vm-1", "namespace": "training", "labels": { "app": "vm" } },
            "spec": {
                "meshTLS": { "identity": "spiffe://a/b", "serverName": "vm-1.example" },
                "ports": [
                    { "port": 80 },
                    { "port": 53, "protocol": "UDP" },
                    { "port": 14143, "name": "linkerd-proxy" },
                ],
                "workloadIPs": [{ "ip": "10.77.0.4" }],
            },
            "status": { "conditions": [{ "type": "Ready", "status": ready }] },
        }))
        .unwrap()
    }

    fn service(namespace: &str, port: u16) -> v1::Service {
        serde_json::from_value(json!({
            "metadata": { "name": "vm", "namespace": namespace },
            "spec": {
                "clusterIPs": ["10.96.0.10"],
                "selector": { "app": "vm" },
                "ports": [{ "port": 8080, "targetPort": port }],
            },
        }))
        .unwrap()
    }

    fn selected(ready: &str, namespace: &str, port: u16) -> Vec<(bool, u16)> {
        let (workload, service) = (workload(ready), service(namespace, port));
        let view = view([&workload].into_iter(), [&service].into_iter());
        let service = view.services.values().next().unwrap();
        let chosen = view.selected(service, service.ports.first().unwrap());
        chosen.map(|(member, port)| (member.ready, port)).collect()
    }

    #[test]
    fn a_service_has_the_workloads_of_its_namespace_that_list_its_port() {
        assert_eq!(selected("True", "training", 80), [(true, 80)]);
        assert_eq!(selected("True", "other", 80), []);
        assert_eq!(selected("True", "training", 81), []);
        // A port of another protocol is none.
        assert_eq!(selected("True", "training", 53), []);
    }

    #[test]
    fn only_the_status_true_is_ready() {
        for status in ["False", "Unknown"] {
            assert_eq!(selected(status, "training", 80), [(false, 80)]);
        }
        let mut silent = workload("True");
        silent.status = None;
        assert!(!member(&silent).ready);
    }

    #[test]
    fn the_proxys_port_is_the_one_of_its_name() {
        let mut workload = workload("True");
        assert_eq!(member(&workload).proxy_inbound_port, 14143);
        workload.spec.ports = None;
        assert_eq!(member(&workload).proxy_inbound_port, 4143);
    }
}
