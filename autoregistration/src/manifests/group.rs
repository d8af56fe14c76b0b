//! An `ExternalGroup`. Probes stand at `spec.probes` in the manifests that people have and at `spec.template.probes` in
//! the reference; both are taken.

use std::collections::BTreeSet;
use std::time::Duration;

use linkerd_harness_core::config;
use linkerd_harness_core::names::{DnsLabel, PortRange};
use linkerd_harness_core::proxy_env::INBOUND_POLICIES;

use super::node::Node;
use super::{Group, access, labels, probe, service};
use crate::crd::{annotations as crd_annotations, limits};
use crate::kubernetes::workload::PROXY_PORT;

/// Annotation with the default inbound policy of a group's workloads.
pub(crate) const DEFAULT_INBOUND_POLICY: &str = "config.linkerd.io/default-inbound-policy";
/// Annotation with the ports of a group's workloads on which protocols are not detected.
pub(crate) const OPAQUE_PORTS: &str = "config.linkerd.io/opaque-ports";

pub(super) fn read(object: &Node<'_>) -> Option<Group> {
    let (namespace, name) = names(object)?;
    if name.len() > limits::NAME {
        object.field("metadata").field("name").problem(format!(
            "has {} characters; at most {}, so that the names of workloads stay DNS labels",
            name.len(),
            limits::NAME
        ));
    }
    let spec = object.field("spec");
    if !spec.present() {
        spec.problem("is missing");
    }
    let template = spec.field("template");
    let ports = service::tcp(&template.field("ports"))
        .into_iter()
        .filter_map(|entry| {
            let port = entry.field("port").port()?;
            Some((port_name(&entry.field("name")), port))
        })
        .collect::<Vec<_>>();
    unique(&template.field("ports"), &ports);
    template.field("ports").at_most(limits::PORTS);
    let (outer, inner) = (spec.field("probes"), template.field("probes"));
    if outer.present() && inner.present() {
        inner.problem("probes are also given at spec.probes; keep one of the two");
    }
    let mut probes = if inner.present() { inner } else { outer }.items();
    let said = object.field("metadata").field("annotations");
    let text = said.field(crd_annotations::PROBES);
    let more = text.parsed_document();
    if let Some(more) = &more {
        probes.extend(text.document(more).items());
    }
    if probes.len() > limits::PROBES {
        spec.field("probes").problem(format!(
            "has {} entries; at most {}",
            probes.len(),
            limits::PROBES
        ));
    }
    let annotations = template.field("metadata").field("annotations");
    check_annotations(&annotations);
    let (access, allowed_labels) = access::read(&spec.field("access"), &said);
    Some(Group {
        uid: uid(&namespace, &name),
        generation: 1,
        edition: 1,
        deleting: false,
        workload_ttl: workload_ttl(&said.field(crd_annotations::WORKLOAD_TTL)),
        paused: said.field(crd_annotations::PAUSED).switch(),
        namespace,
        name,
        labels: labels::read(&template.field("metadata").field("labels")),
        annotations: annotations.texts(),
        probes: probes
            .iter()
            .filter_map(|entry| probe::read(entry, &ports))
            .collect(),
        access,
        allowed_labels,
        ports,
    })
}

fn workload_ttl(annotation: &Node<'_>) -> Option<Duration> {
    let text = annotation.text()?;
    let (least, most) = limits::WORKLOAD_TTL;
    let read = config::duration(&text).and_then(|ttl| match ttl {
        ttl if ttl < least => Err("is less than 1s".to_owned()),
        ttl if ttl > most => Err("is more than 720h".to_owned()),
        ttl => Ok(ttl),
    });
    read.map_err(|error| annotation.problem(format!("`{}` {error}", text.escape_debug())))
        .ok()
}

/// The uid of a group of a file, which has none: the same after a restart of ours.
fn uid(namespace: &str, name: &str) -> String {
    crate::registry::name::uid("group", &format!("{namespace}/{name}"))
}

/// Namespace (`default` when it is left out) and name of an object.
pub(super) fn names(object: &Node<'_>) -> Option<(String, String)> {
    let metadata = object.field("metadata");
    let label = |node: Node<'_>| {
        node.parsed::<DnsLabel>()
            .map(|label| label.as_str().to_owned())
    };
    if !metadata.field("name").present() {
        metadata.field("name").problem("is missing");
    }
    let namespace = metadata.field("namespace");
    let namespace = if namespace.present() {
        label(namespace)
    } else {
        Some("default".to_owned())
    };
    namespace.zip(label(metadata.field("name")))
}

fn port_name(name: &Node<'_>) -> String {
    let text = name.text().unwrap_or_default();
    let valid = text.is_empty()
        || (text.len() <= 15
            && text.parse::<DnsLabel>().is_ok()
            && text.bytes().any(|b| b.is_ascii_lowercase()));
    if !valid {
        name.problem(format!(
            "`{text}` is not a port name (1 to 15 of a-z, 0-9 and -, at least one letter)"
        ));
    }
    if text == PROXY_PORT {
        name.problem(format!(
            "`{text}` is what Linkerd calls the proxy's own port; give it another name"
        ));
    }
    text
}

fn unique(node: &Node<'_>, ports: &[(String, u16)]) {
    let (mut names, mut numbers) = (BTreeSet::new(), BTreeSet::new());
    for (name, number) in ports {
        if !numbers.insert(number) {
            node.problem(format!("port {number} is listed twice; remove one"));
        }
        if !name.is_empty() && !names.insert(name) {
            node.problem(format!("two ports are named `{name}`; rename one"));
        }
    }
}

fn check_annotations(annotations: &Node<'_>) {
    let policy = annotations.field(DEFAULT_INBOUND_POLICY);
    if let Some(value) = policy.text()
        && !INBOUND_POLICIES.contains(&value.as_str())
    {
        policy.problem(format!(
            "`{value}` is not known; write one of {}",
            INBOUND_POLICIES.join(", ")
        ));
    }
    let opaque = annotations.field(OPAQUE_PORTS);
    for port in opaque.text().unwrap_or_default().split(',') {
        let port = port.trim();
        if !port.is_empty() && port.parse::<PortRange>().is_err() {
            opaque.problem(format!(
                "`{port}` is not a port or a range; write e.g. \"25,587,4000-4100\""
            ));
        }
    }
}
