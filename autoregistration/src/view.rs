//! The one picture of the mesh that every answer is made from: who is a member, which Services there are.
//!
//! The registry owns it and publishes each change on a `watch`; the mesh APIs only read.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

/// The mesh at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// False after a start until the VMs had time to come back. Until then nobody may be called unknown: an answer
    /// "not a member" means plaintext (see `mesh`), so it is held back.
    pub restored: bool,
    /// Settings of the whole mesh.
    pub settings: Settings,
    /// Registered workloads by (namespace, name).
    pub members: BTreeMap<(String, String), Member>,
    /// Services by (namespace, name).
    pub services: BTreeMap<(String, String), Service>,
}

/// Settings of the whole mesh.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// `cluster.local`
    pub cluster_domain: String,
    /// Networks of VMs and Services.
    pub cluster_networks: Vec<IpNet>,
    /// Policy of a port for which nothing else is said, e.g. `all-unauthenticated`.
    pub default_inbound_policy: String,
}

/// A registered workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Kubernetes namespace.
    pub namespace: String,
    /// Name of the workload.
    pub name: String,
    /// The group that it was made from.
    pub group: String,
    /// Labels of the group's template.
    pub labels: BTreeMap<String, String>,
    /// Annotations of the group's template.
    pub annotations: BTreeMap<String, String>,
    /// Addresses, the preferred one first.
    pub ips: Vec<IpAddr>,
    /// Ports of the application: name (may be empty), number.
    pub ports: Vec<(String, u16)>,
    /// Port of the proxy's inbound listener, 4143 unless told otherwise.
    pub proxy_inbound_port: u16,
    /// SPIFFE ID, always `spiffe://`.
    pub identity: String,
    /// SNI of its proxy.
    pub server_name: String,
    /// Whether it may receive traffic through a Service.
    pub ready: bool,
}

/// A Service of `v1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Kubernetes namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Cluster IPs; the manifest's, else one that is computed from namespace and name.
    pub cluster_ips: Vec<IpAddr>,
    /// Ports.
    pub ports: Vec<ServicePort>,
    /// Labels that a member in the same namespace must carry; empty selects nobody.
    pub selector: BTreeMap<String, String>,
}

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// The Service's port.
    pub port: u16,
    /// The member's port.
    pub target: TargetPort,
}

/// Which port of a member a Service's port means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetPort {
    /// By number; the member must list it.
    Number(u16),
    /// By the name of a port of the member.
    Name(String),
}

// === impl View ===

impl View {
    /// The member that has `ip`.
    pub fn member_by_ip(&self, ip: IpAddr) -> Option<&Member> {
        self.members
            .values()
            .find(|member| member.ips.contains(&ip))
    }

    /// The Service and its port behind `ip:port`; the port is `None` when the Service does not have it.
    pub fn service_by_ip(&self, ip: IpAddr, port: u16) -> Option<(&Service, Option<&ServicePort>)> {
        let service = self
            .services
            .values()
            .find(|service| service.cluster_ips.contains(&ip))?;
        Some((
            service,
            service
                .ports
                .iter()
                .find(|candidate| candidate.port == port),
        ))
    }

    /// Members that `service` selects and the number of their port behind `port`, ready or not.
    pub fn selected<'a>(
        &'a self,
        service: &'a Service,
        port: &'a ServicePort,
    ) -> impl Iterator<Item = (&'a Member, u16)> {
        self.members.values().filter_map(move |member| {
            let chosen = !service.selector.is_empty()
                && member.namespace == service.namespace
                && service
                    .selector
                    .iter()
                    .all(|(key, value)| member.labels.get(key) == Some(value));
            let number = member
                .ports
                .iter()
                .find_map(|(name, number)| match &port.target {
                    TargetPort::Number(wanted) => (wanted == number).then_some(*number),
                    TargetPort::Name(wanted) => (wanted == name).then_some(*number),
                });
            number.filter(|_| chosen).map(|number| (member, number))
        })
    }
}
