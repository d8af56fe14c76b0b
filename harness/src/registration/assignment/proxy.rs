//! Settings of the proxy: checked, because they end in its environment.

use std::collections::BTreeMap;

use ipnet::IpNet;
use linkerd_harness_api::v1;
use linkerd_harness_core::assignment::{Endpoint, ProxySettings};
use linkerd_harness_core::names::{DnsName, HostPort, PortRange};
use linkerd_harness_core::proxy_env::INBOUND_POLICIES;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::Problems;

pub(super) fn from_wire(wire: v1::ProxyConfig, problems: &mut Problems) -> Option<ProxySettings> {
    check_anchors(&wire.trust_anchors_pem, problems);
    problems.check::<DnsName>("proxy.cluster_domain", &wire.cluster_domain);
    if !INBOUND_POLICIES.contains(&wire.default_inbound_policy.as_str()) {
        problems.add(format!(
            "proxy.default_inbound_policy `{}` is not one of {}",
            wire.default_inbound_policy.escape_debug(),
            INBOUND_POLICIES.join(", ")
        ));
    }
    for port in wire.opaque_ports.split(',').filter(|port| !port.is_empty()) {
        problems.check::<PortRange>("proxy.opaque_ports", port);
    }
    for (name, value) in &wire.extra_env {
        if name.contains(['=', '\0']) || name.is_empty() || value.contains('\0') {
            problems.add(format!(
                "proxy.extra_env `{}` cannot be an environment variable",
                name.escape_debug()
            ));
        }
    }
    let cluster_networks = wire
        .cluster_networks
        .iter()
        .map(|network| problems.parse("proxy.cluster_networks", network))
        .collect::<Option<Vec<IpNet>>>();
    let destination = endpoint("proxy.destination", wire.destination, problems);
    let policy = endpoint("proxy.policy", wire.policy, problems);
    Some(ProxySettings {
        trust_anchors_pem: wire.trust_anchors_pem,
        cluster_domain: wire.cluster_domain,
        cluster_networks: cluster_networks?,
        destination: destination?,
        policy: policy?,
        default_inbound_policy: wire.default_inbound_policy,
        opaque_ports: wire.opaque_ports,
        ipv6: wire.ipv6,
        extra_env: wire.extra_env.into_iter().collect::<BTreeMap<_, _>>(),
    })
}

pub(super) fn to_wire(proxy: &ProxySettings) -> v1::ProxyConfig {
    let endpoint = |endpoint: &Endpoint| {
        Some(v1::Endpoint {
            addr: endpoint.addr.to_string(),
            identity: endpoint.identity.clone(),
        })
    };
    v1::ProxyConfig {
        trust_anchors_pem: proxy.trust_anchors_pem.clone(),
        trust_domain: String::new(),
        cluster_domain: proxy.cluster_domain.clone(),
        linkerd_namespace: String::new(),
        cluster_networks: proxy
            .cluster_networks
            .iter()
            .map(IpNet::to_string)
            .collect(),
        destination: endpoint(&proxy.destination),
        policy: endpoint(&proxy.policy),
        default_inbound_policy: proxy.default_inbound_policy.clone(),
        opaque_ports: proxy.opaque_ports.clone(),
        ipv6: proxy.ipv6,
        extra_env: proxy.extra_env.clone().into_iter().collect(),
    }
}

fn endpoint(what: &str, wire: Option<v1::Endpoint>, problems: &mut Problems) -> Option<Endpoint> {
    let wire = problems.need(what, wire)?;
    let addr = problems.parse::<HostPort>(&format!("{what}.addr"), &wire.addr);
    let identity = problems.parse::<DnsName>(&format!("{what}.identity"), &wire.identity);
    Some(Endpoint {
        addr: addr?,
        identity: identity?.as_str().to_owned(),
    })
}

/// The proxy ends when its anchors hold no certificate.
fn check_anchors(pem: &str, problems: &mut Problems) {
    match CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<Vec<_>, _>>() {
        Ok(anchors) if anchors.is_empty() => {
            problems.add("proxy.trust_anchors_pem holds no certificate");
        }
        Ok(_) => {}
        Err(error) => problems.add(format!("proxy.trust_anchors_pem is not PEM: {error}")),
    }
}
