//! A `Service` of `v1`: its addresses, TCP ports and selector.

use std::net::IpAddr;

use super::node::Node;
use super::{ClusterIps, ServiceManifest, group};
use crate::view::{ServicePort, TargetPort};

pub(super) fn read(object: &Node<'_>) -> Option<ServiceManifest> {
    let (namespace, name) = group::names(object)?;
    let spec = object.field("spec");
    if !spec.present() {
        spec.problem("is missing");
    }
    let ports = tcp(&spec.field("ports"))
        .into_iter()
        .filter_map(|entry| {
            let port = entry.field("port").port()?;
            Some(ServicePort {
                port,
                target: target(&entry.field("targetPort"), port)?,
            })
        })
        .collect();
    Some(ServiceManifest {
        namespace,
        name,
        cluster_ips: cluster_ips(&spec),
        ports,
        selector: spec.field("selector").texts(),
    })
}

/// The entries of a list of ports that are TCP; the mesh carries nothing else.
pub(super) fn tcp<'a>(ports: &Node<'a>) -> Vec<Node<'a>> {
    ports
        .items()
        .into_iter()
        .filter(|entry| match entry.field("protocol").text().as_deref() {
            None | Some("TCP") => true,
            Some("UDP" | "SCTP") => false,
            Some(other) => {
                entry
                    .field("protocol")
                    .problem(format!("`{other}` is not known; write TCP, UDP or SCTP"));
                false
            }
        })
        .collect()
}

fn target(target: &Node<'_>, port: u16) -> Option<TargetPort> {
    if !target.present() {
        Some(TargetPort::Number(port))
    } else if target.is_text() {
        target.text().map(TargetPort::Name)
    } else {
        target.port().map(TargetPort::Number)
    }
}

fn cluster_ips(spec: &Node<'_>) -> ClusterIps {
    let (one, many) = (spec.field("clusterIP"), spec.field("clusterIPs"));
    let fields = if many.present() {
        many.items()
    } else {
        vec![one]
    };
    let mut ips = Vec::new();
    for field in fields {
        match field.text().as_deref() {
            None | Some("") => {}
            Some("None") => return ClusterIps::Headless,
            Some(text) => match text.parse::<IpAddr>() {
                Ok(ip) if !ip.is_unspecified() && !ip.is_multicast() => ips.push(ip),
                _ => field.problem(format!(
                    "`{text}` is not a cluster IP; write an address, None, or leave it out to have one computed"
                )),
            },
        }
    }
    if ips.is_empty() {
        ClusterIps::Computed
    } else {
        ClusterIps::Fixed(ips)
    }
}
