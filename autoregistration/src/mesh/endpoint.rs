//! One member as the target of a connection.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use linkerd2_proxy_api::destination::http2_client_params::KeepAlive;
use linkerd2_proxy_api::destination::protocol_hint::{H2, Opaque, OpaqueTransport, Protocol};
use linkerd2_proxy_api::destination::tls_identity::{DnsLikeIdentity, Strategy, UriLikeIdentity};
use linkerd2_proxy_api::destination::{Http2ClientParams, ProtocolHint, TlsIdentity, WeightedAddr};

use super::{identity, opaque};
use crate::view::Member;

/// The proxy's tap port.
const TAP_PORT: u16 = 4190;
/// The proxy's admin port.
pub(super) const ADMIN_PORT: u16 = 4191;

/// Linkerd's weight of one endpoint; proxies do not read it.
const WEIGHT: u32 = 10_000;
/// How often a proxy pings an idle HTTP/2 connection. Without pings a request to a VM that vanished hangs until the
/// client gives up. Values of Linkerd's control plane.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(3);

/// Label of the member's zone, and the metric label that it becomes.
const ZONE: (&str, &str) = ("topology.kubernetes.io/zone", "zone");

/// `member` at `addr`, one of its addresses. `None` if proxies could not verify it: without identity it would be
/// reached in plaintext.
pub(super) fn endpoint(member: &Member, addr: SocketAddr) -> Option<WeightedAddr> {
    identity::is_usable(member).then(|| WeightedAddr {
        addr: Some(addr.into()),
        weight: WEIGHT,
        metric_labels: labels(member),
        tls_identity: Some(TlsIdentity {
            strategy: Some(Strategy::UriLikeIdentity(UriLikeIdentity {
                uri: member.identity.clone(),
            })),
            // Not optional beside a URI: a proxy that finds none connects in plaintext.
            server_name: Some(DnsLikeIdentity {
                name: member.server_name.clone(),
            }),
        }),
        protocol_hint: Some(hint(member, addr.port())),
        // Would turn the connection into one through a gateway, which a plain proxy refuses.
        authority_override: None,
        http2: Some(Http2ClientParams {
            keep_alive: Some(KeepAlive {
                interval: prost_types::Duration::try_from(KEEP_ALIVE_INTERVAL).ok(),
                timeout: prost_types::Duration::try_from(KEEP_ALIVE_TIMEOUT).ok(),
                while_idle: true,
            }),
            ..Http2ClientParams::default()
        }),
        resource_ref: None,
    })
}

/// Whether `port` is one of the proxy itself, where it takes TLS but no transport header.
pub(super) fn is_proxy_port(port: u16) -> bool {
    matches!(port, TAP_PORT | ADMIN_PORT)
}

fn hint(member: &Member, port: u16) -> ProtocolHint {
    let protocol = if opaque::is_opaque(member, port) {
        Protocol::Opaque(Opaque {})
    } else {
        Protocol::H2(H2 {})
    };
    ProtocolHint {
        protocol: Some(protocol),
        opaque_transport: (!is_proxy_port(port)).then(|| OpaqueTransport {
            inbound_port: member.proxy_inbound_port.into(),
        }),
    }
}

fn labels(member: &Member) -> HashMap<String, String> {
    let own = [
        ("external_workload", &member.name),
        ("namespace", &member.namespace),
    ];
    let zone = member.labels.get(ZONE.0).map(|zone| (ZONE.1, zone));
    own.into_iter()
        .chain(zone)
        .map(|(key, value)| (key.to_owned(), value.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::check::Checked;
    use crate::mesh::testing::{MEMBER_IP, member};

    fn at(member: &Member, port: u16) -> Option<WeightedAddr> {
        endpoint(member, SocketAddr::new(MEMBER_IP.parse().unwrap(), port))
    }

    #[test]
    fn a_member_is_reached_with_its_identity_through_its_proxy() {
        let vm = member("vm-a");
        let endpoint = at(&vm, 80).unwrap();
        assert_eq!(endpoint.faults(), Vec::<String>::new());
        let tls = endpoint.tls_identity.unwrap();
        let uri = UriLikeIdentity {
            uri: vm.identity.clone(),
        };
        assert_eq!(tls.strategy, Some(Strategy::UriLikeIdentity(uri)));
        assert_eq!(tls.server_name.unwrap().name, vm.server_name);
        let hint = endpoint.protocol_hint.unwrap();
        assert_eq!(hint.protocol, Some(Protocol::H2(H2 {})));
        assert_eq!(hint.opaque_transport.unwrap().inbound_port, 4143);
        assert_eq!(endpoint.metric_labels["external_workload"], "vm-a");
        assert_eq!(endpoint.metric_labels["namespace"], "training");
    }

    #[test]
    fn a_member_that_cannot_be_verified_is_no_endpoint() {
        let broken: [fn(&mut Member); 4] = [
            |m| m.identity.clear(),
            |m| m.identity = "vm-a.training".to_owned(),
            |m| m.server_name.clear(),
            |m| m.proxy_inbound_port = 0,
        ];
        for (case, breaks) in broken.iter().enumerate() {
            let mut vm = member("vm-a");
            breaks(&mut vm);
            assert_eq!(at(&vm, 80), None, "case {case}");
        }
    }

    #[test]
    fn opaque_ports_are_forwarded_raw_and_proxy_ports_without_header() {
        let vm = member("vm-a");
        let opaque = at(&vm, 3306).unwrap().protocol_hint.unwrap();
        assert_eq!(opaque.protocol, Some(Protocol::Opaque(Opaque {})));
        assert!(opaque.opaque_transport.is_some());
        for port in [TAP_PORT, ADMIN_PORT] {
            let endpoint = at(&vm, port).unwrap();
            assert!(endpoint.tls_identity.is_some());
            assert_eq!(endpoint.protocol_hint.unwrap().opaque_transport, None);
        }
    }

    #[test]
    fn the_zone_becomes_a_metric_label() {
        let mut vm = member("vm-a");
        vm.labels.insert(ZONE.0.to_owned(), "eu-1".to_owned());
        assert_eq!(at(&vm, 80).unwrap().metric_labels["zone"], "eu-1");
    }
}
