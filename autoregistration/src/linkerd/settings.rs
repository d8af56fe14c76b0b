//! Settings of the mesh, and what they make of a group: pure, equal on every replica that has seen the same objects.

use std::collections::BTreeMap;
use std::sync::Arc;

use ipnet::IpNet;
use linkerd_harness_api::v1;

use super::annotations::{ALL, Annotation, DEFAULT_INBOUND_POLICY, OPAQUE_PORTS, REQUIRE_IDENTITY};
use super::overrides::{self, Overrides};
use super::ports;
use super::proxy::Proxy;
use super::values::Values;
use crate::manifests::{FieldProblem, Group};

/// Everything about the mesh that a VM has to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `cluster.local`
    pub cluster_domain: String,
    /// Domain of Linkerd's own identities and of server names.
    pub identity_trust_domain: String,
    /// Linkerd's namespace.
    pub linkerd_namespace: String,
    /// Networks in which addresses are looked up.
    pub cluster_networks: Vec<IpNet>,
    /// Trust anchors, PEM.
    pub trust_anchors_pem: Arc<str>,
    /// Whether the mesh is of IPv4 alone.
    pub disable_ipv6: bool,
    /// How proxies are set for which nothing else is said.
    pub proxy: Proxy,
    /// Linkerd's annotations of the namespaces that have any.
    pub namespaces: BTreeMap<String, BTreeMap<String, String>>,
}

/// What a mesh without a cluster is told by its flags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flags {
    /// `--cluster-domain`
    pub cluster_domain: String,
    /// `--identity-trust-domain`
    pub identity_trust_domain: String,
    /// `--linkerd-namespace`
    pub linkerd_namespace: String,
    /// `--cluster-networks`
    pub cluster_networks: Vec<IpNet>,
    /// `--default-inbound-policy`
    pub default_inbound_policy: String,
}

/// What the settings make of a group.
#[derive(Clone, Debug, PartialEq)]
pub struct Merged {
    /// For the VMs.
    pub proxy: v1::ProxyConfig,
    /// For the `ExternalWorkload`s: the group's own, with those that Linkerd's controllers read put in order.
    pub workload_annotations: BTreeMap<String, String>,
    /// Annotations that are not taken, or not whole, and why.
    pub problems: Vec<FieldProblem>,
}

// === impl Settings ===

impl Settings {
    /// Those of a cluster.
    pub fn new(
        linkerd_namespace: String,
        values: Values,
        trust_anchors_pem: Arc<str>,
        namespaces: BTreeMap<String, BTreeMap<String, String>>,
    ) -> Self {
        Self {
            cluster_domain: values.cluster_domain,
            identity_trust_domain: values.identity_trust_domain,
            linkerd_namespace,
            cluster_networks: values.cluster_networks,
            trust_anchors_pem,
            disable_ipv6: values.disable_ipv6,
            proxy: values.proxy,
            namespaces,
        }
    }

    /// Those of a mesh without a cluster.
    pub fn from_flags(flags: Flags, trust_anchors_pem: Arc<str>) -> Self {
        Self {
            cluster_domain: flags.cluster_domain,
            identity_trust_domain: flags.identity_trust_domain,
            linkerd_namespace: flags.linkerd_namespace,
            cluster_networks: flags.cluster_networks,
            trust_anchors_pem,
            // One family: with two, Linkerd's addresses of a workload overwrite one another.
            disable_ipv6: true,
            proxy: Proxy::new(flags.default_inbound_policy),
            namespaces: BTreeMap::new(),
        }
    }

    /// Identity of a control-plane service, as the proxies know it.
    pub fn control_identity(&self, account: &str) -> String {
        self.identity(account, &self.linkerd_namespace)
    }

    /// How the proxies of this group's VMs are set.
    pub fn proxy_config(&self, group: &Group) -> v1::ProxyConfig {
        self.merge(group).proxy
    }

    /// What the `ExternalWorkload`s of this group are annotated with.
    pub fn workload_annotations(&self, group: &Group) -> BTreeMap<String, String> {
        self.merge(group).workload_annotations
    }

    /// Merges them as Linkerd's injector does for a pod: the group over its namespace over `linkerd-config`.
    pub fn merge(&self, group: &Group) -> Merged {
        const NONE: &BTreeMap<String, String> = &BTreeMap::new();
        let overrides = Overrides {
            namespace: self.namespaces.get(&group.namespace).unwrap_or(NONE),
            group,
        };
        let (mut proxy, mut problems) = (self.proxy.clone(), Vec::new());
        overrides.apply(&mut proxy, &mut problems);
        Merged {
            workload_annotations: self.annotate(&overrides),
            proxy: self.assigned(proxy),
            problems,
        }
    }

    fn assigned(&self, proxy: Proxy) -> v1::ProxyConfig {
        let variables = proxy.variables(|account, namespace| self.identity(account, namespace));
        v1::ProxyConfig {
            trust_anchors_pem: self.trust_anchors_pem.as_ref().to_owned(),
            trust_domain: self.identity_trust_domain.clone(),
            cluster_domain: self.cluster_domain.clone(),
            linkerd_namespace: self.linkerd_namespace.clone(),
            cluster_networks: self
                .cluster_networks
                .iter()
                .map(ToString::to_string)
                .collect(),
            destination: Some(self.control("linkerd-dst-headless", 8086)),
            policy: Some(self.control("linkerd-policy", 8090)),
            default_inbound_policy: proxy.default_inbound_policy,
            opaque_ports: proxy.opaque_ports,
            ipv6: !self.disable_ipv6,
            extra_env: variables.into_iter().collect(),
        }
    }

    fn control(&self, service: &str, port: u16) -> v1::Endpoint {
        v1::Endpoint {
            addr: format!(
                "{service}.{}.svc.{}.:{port}",
                self.linkerd_namespace, self.cluster_domain
            ),
            // Linkerd serves both under the identity of its destination controller.
            identity: self.control_identity("linkerd-destination"),
        }
    }

    /// Linkerd's controllers take nothing from a namespace, so that what it hands down is written out. A value that they
    /// could not read is worse than none: one bad port empties the policy controller's whole list.
    fn annotate(&self, overrides: &Overrides<'_>) -> BTreeMap<String, String> {
        let group = overrides.group;
        let mut annotations = group.annotations.clone();
        for annotation in ALL.iter().filter(|annotation| annotation.of_workload()) {
            let found = overrides.find(annotation).map(|found| found.value);
            let value = match annotation.name {
                DEFAULT_INBOUND_POLICY => found.and_then(|text| overrides::policy(text).ok()),
                OPAQUE_PORTS => self.opaque_ports(found, group),
                REQUIRE_IDENTITY => {
                    found.map(|text| ports::text(&ports::read(text, &group.ports).0))
                }
                _ => continue,
            };
            put(&mut annotations, annotation, value);
        }
        annotations
    }

    /// As the injector does: where nobody says, those of the default list that the workload has.
    fn opaque_ports(&self, found: Option<&str>, group: &Group) -> Option<String> {
        match found {
            Some(text) => Some(ports::text(&ports::read(text, &group.ports).0)),
            None => Some(ports::exposed(&self.proxy.opaque_ports, &group.ports))
                .filter(|exposed| !exposed.is_empty()),
        }
    }

    fn identity(&self, account: &str, namespace: &str) -> String {
        format!(
            "{account}.{namespace}.serviceaccount.identity.{}.{}",
            self.linkerd_namespace, self.identity_trust_domain
        )
    }
}

fn put(annotations: &mut BTreeMap<String, String>, of: &Annotation, value: Option<String>) {
    match value {
        Some(value) => annotations.insert(of.name.to_owned(), value),
        None => annotations.remove(of.name),
    };
}

#[cfg(test)]
mod tests;
