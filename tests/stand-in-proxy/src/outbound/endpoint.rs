//! Where a connection can go, and how it must be secured on the way.

use crate::names::{Id, is_dns_name};
use linkerd2_proxy_api::destination::{self as api, protocol_hint, tls_identity};
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::time::Duration;
use tracing::warn;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Endpoint {
    /// The application's address.
    pub(crate) addr: SocketAddr,
    /// Without it the connection is plaintext; with it, it is never.
    pub(crate) tls: Option<EndpointTls>,
    /// The peer proxy's port; without it TLS goes to the application's port.
    pub(crate) transport_port: Option<u16>,
    pub(crate) hint: Hint,
    /// `host:port` for a gateway.
    pub(crate) authority: Option<String>,
    pub(crate) keep_alive: Option<KeepAlive>,
    /// `dst_…` labels, each with a comma in front.
    pub(crate) labels: String,
    /// The address is this host's own.
    pub(crate) local: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct EndpointTls {
    pub(crate) id: Id,
    pub(crate) server_name: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Hint {
    Unknown,
    H2,
    Opaque,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct KeepAlive {
    pub(crate) interval: Duration,
    pub(crate) timeout: Duration,
    pub(crate) while_idle: bool,
}

impl Endpoint {
    /// An address that nothing is known about.
    pub(crate) fn plain(addr: SocketAddr) -> Self {
        Self {
            addr,
            tls: None,
            transport_port: None,
            hint: Hint::Unknown,
            authority: None,
            keep_alive: None,
            labels: String::new(),
            local: false,
        }
    }

    /// Reads an endpoint; an identity that cannot be read makes it plaintext, as in the real proxy.
    pub(crate) fn decode(
        wire: api::WeightedAddr,
        set_labels: &HashMap<String, String>,
    ) -> Option<Self> {
        let addr = SocketAddr::try_from(wire.addr?).ok()?;
        let labels: BTreeMap<_, _> = set_labels.iter().chain(&wire.metric_labels).collect();
        let mut endpoint = Self::plain(addr);
        let labels: Vec<_> = labels
            .iter()
            .map(|(key, value)| format!(r#",dst_{key}="{value}""#))
            .collect();
        endpoint.labels = labels.concat();
        if let Some(hint) = wire.protocol_hint {
            endpoint.hint = match hint.protocol {
                Some(protocol_hint::Protocol::H2(_)) => Hint::H2,
                Some(protocol_hint::Protocol::Opaque(_)) => Hint::Opaque,
                None => Hint::Unknown,
            };
            let port = hint
                .opaque_transport
                .and_then(|transport| u16::try_from(transport.inbound_port).ok());
            endpoint.transport_port = port.filter(|port| *port > 0 && *port < u16::MAX);
        }
        endpoint.tls = wire.tls_identity.and_then(identity);
        endpoint.authority = wire
            .authority_override
            .map(|authority| authority.authority_override);
        endpoint.keep_alive = wire
            .http2
            .and_then(|http2| http2.keep_alive)
            .and_then(keep_alive);
        Some(endpoint)
    }

    /// This host's own address is reached without the mesh.
    pub(crate) fn into_local(mut self) -> Self {
        self.tls = None;
        self.transport_port = None;
        self.hint = Hint::Unknown;
        self.local = true;
        self
    }
}

fn identity(wire: api::TlsIdentity) -> Option<EndpointTls> {
    let id = match wire.strategy? {
        tls_identity::Strategy::DnsLikeIdentity(dns) if is_dns_name(&dns.name) => {
            Id::Dns(dns.name.to_ascii_lowercase())
        }
        tls_identity::Strategy::DnsLikeIdentity(dns) => {
            warn!(target: "linkerd_proxy_api_resolve::pb", "Ignoring invalid DNS identity: {}", dns.name);
            return None;
        }
        tls_identity::Strategy::UriLikeIdentity(uri) => {
            let id = Id::parse_uri(&uri.uri);
            if id.is_none() {
                warn!(target: "linkerd_proxy_api_resolve::pb", "Ignoring invalid URI identity: {}", uri.uri);
            }
            id?
        }
    };
    let server_name = match (wire.server_name, &id) {
        (Some(name), _) if is_dns_name(&name.name) => name.name.to_ascii_lowercase(),
        (Some(name), _) => {
            warn!(target: "linkerd_proxy_api_resolve::pb", "Ignoring invalid Server name: {}", name.name);
            return None;
        }
        (None, Id::Dns(name)) => name.clone(),
        (None, Id::Uri(_)) => {
            warn!(target: "linkerd_proxy_api_resolve::pb", "server name missing for URI type identity");
            return None;
        }
    };
    Some(EndpointTls { id, server_name })
}

fn keep_alive(wire: api::http2_client_params::KeepAlive) -> Option<KeepAlive> {
    let interval = wire.interval?.try_into().ok()?;
    let timeout = wire.timeout?.try_into().ok()?;
    Some(KeepAlive {
        interval,
        timeout,
        while_idle: wire.while_idle,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(uri: &str, server_name: Option<&str>) -> api::TlsIdentity {
        api::TlsIdentity {
            strategy: Some(tls_identity::Strategy::UriLikeIdentity(
                tls_identity::UriLikeIdentity { uri: uri.into() },
            )),
            server_name: server_name
                .map(|name| tls_identity::DnsLikeIdentity { name: name.into() }),
        }
    }

    fn decode(identity: Option<api::TlsIdentity>, port: u32) -> Endpoint {
        let addr = SocketAddr::from(([10, 0, 0, 2], 80));
        let wire = api::WeightedAddr {
            addr: Some(addr.into()),
            tls_identity: identity,
            protocol_hint: Some(api::ProtocolHint {
                protocol: Some(protocol_hint::Protocol::H2(protocol_hint::H2 {})),
                opaque_transport: Some(protocol_hint::OpaqueTransport { inbound_port: port }),
            }),
            metric_labels: [("external_workload".to_owned(), "vm-b".to_owned())].into(),
            ..Default::default()
        };
        Endpoint::decode(wire, &HashMap::new()).unwrap()
    }

    #[test]
    fn a_member_has_identity_name_port_and_labels() {
        let endpoint = decode(Some(uri("spiffe://td/vm-b", Some("vm-b.local"))), 4143);
        let tls = endpoint.tls.unwrap();
        assert_eq!(
            (tls.id.as_str(), tls.server_name.as_str()),
            ("spiffe://td/vm-b", "vm-b.local")
        );
        assert_eq!(endpoint.transport_port, Some(4143));
        assert_eq!(endpoint.labels, r#",dst_external_workload="vm-b""#);
    }

    #[test]
    fn an_identity_that_cannot_be_read_means_plaintext() {
        for bad in [
            uri("spiffe://td/vm-b", None),
            uri("vm-b", Some("vm-b.local")),
            uri("spiffe://td/vm-b", Some("a/b")),
        ] {
            assert_eq!(decode(Some(bad), 4143).tls, None);
        }
        let dns = |name: &str| api::TlsIdentity {
            strategy: Some(tls_identity::Strategy::DnsLikeIdentity(
                tls_identity::DnsLikeIdentity { name: name.into() },
            )),
            server_name: None,
        };
        assert_eq!(decode(Some(dns("spiffe://td/vm-b")), 4143).tls, None);
        assert!(decode(Some(dns("web.ns.local")), 4143).tls.is_some());
    }

    #[test]
    fn impossible_transport_ports_are_passed_over() {
        for port in [0, 65535, 70000] {
            assert_eq!(decode(None, port).transport_port, None, "{port}");
        }
    }
}
