//! Names of Services as a hosts file, which dnsmasq and other resolvers read.

use std::net::IpAddr;

use crate::view::{Service, View};

/// One line for each address of each Service. A headless one has the addresses of its ready members, as in Kubernetes.
pub(super) fn text(view: &View) -> String {
    let mut lines = Vec::new();
    for service in view.services.values() {
        let ips = if service.cluster_ips.is_empty() {
            members(view, service)
        } else {
            service.cluster_ips.clone()
        };
        lines.extend(ips.into_iter().map(|ip| {
            format!(
                "{ip} {}.{}.svc.{}\n",
                service.name, service.namespace, view.settings.cluster_domain
            )
        }));
    }
    lines.concat()
}

fn members(view: &View, service: &Service) -> Vec<IpAddr> {
    let mut ips = service
        .ports
        .iter()
        .flat_map(|port| view.selected(service, port))
        .filter(|(member, _)| member.ready)
        .filter_map(|(member, _)| member.ips.first().copied())
        .collect::<Vec<_>>();
    ips.sort();
    ips.dedup();
    ips
}
