//! A `Service` of `v1`: its addresses, TCP ports and selector.

use std::collections::BTreeSet;
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
        .collect::<Vec<_>>();
    let mut seen = BTreeSet::new();
    for ServicePort { port, .. } in &ports {
        if !seen.insert(port) {
            let message = format!("port {port} is listed twice; remove one");
            spec.field("ports").problem(message);
        }
    }
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
            // `::ffff:10.0.0.1` and `10.0.0.1` are one address; from here on there is only the latter.
            Some(text) => match text.parse::<IpAddr>().map(|ip| ip.to_canonical()) {
                Ok(ip) if is_redirected(ip) => {
                    if !ips.contains(&ip) {
                        ips.push(ip);
                    }
                }
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

/// Whether a connection to this address reaches a proxy: those to the host itself and to the link do not.
fn is_redirected(ip: IpAddr) -> bool {
    let local = match ip {
        IpAddr::V4(ip) => ip.is_link_local() || ip.is_broadcast(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    !(local || ip.is_unspecified() || ip.is_multicast() || ip.is_loopback())
}
