//! Rules for endpoints, updates of endpoint sets and profiles.

use std::collections::HashSet;
use std::net::SocketAddr;

use linkerd2_proxy_api::destination::protocol_hint::Protocol;
use linkerd2_proxy_api::destination::tls_identity::Strategy;
use linkerd2_proxy_api::destination::{DestinationProfile, Update, WeightedAddr, update};
use linkerd2_proxy_api::net::TcpAddress;

use super::{Checked, Faults};
use crate::mesh::endpoint::is_proxy_port;
use crate::mesh::identity::{is_inbound_port, is_server_name, is_spiffe_id};

impl Checked for WeightedAddr {
    fn faults(&self) -> Vec<String> {
        let mut faults = Faults::default();
        let addr = self.addr.and_then(address);
        faults.must(addr.is_some(), "address is missing or has no port");
        let tls = self.tls_identity.as_ref();
        match tls.and_then(|tls| tls.strategy.as_ref()) {
            Some(Strategy::UriLikeIdentity(id)) => {
                faults.must(is_spiffe_id(&id.uri), "identity is no SPIFFE ID: plaintext");
            }
            Some(Strategy::DnsLikeIdentity(_)) => faults.must(false, "identity of a VM is no URI"),
            None => faults.must(false, "identity is missing: plaintext"),
        }
        let server_name = tls.and_then(|tls| tls.server_name.as_ref());
        let named = server_name.is_some_and(|name| is_server_name(&name.name));
        faults.must(named, "server name is missing or no DNS name: plaintext");
        if let Some(hint) = faults.need(self.protocol_hint.as_ref(), "protocol hint") {
            faults.must(hint.protocol.is_some(), "protocol hint is empty");
            if let Some(transport) = hint.opaque_transport {
                let taken = is_inbound_port(transport.inbound_port);
                faults.must(taken, "inbound port is one that proxies ignore");
            } else {
                let own = addr.is_some_and(|addr| is_proxy_port(addr.port()));
                faults.must(own, "opaque transport is missing");
                let opaque = matches!(hint.protocol, Some(Protocol::Opaque(_)));
                faults.must(
                    !opaque,
                    "opaque without transport header: connections break",
                );
            }
        }
        let keep_alive = self.http2.as_ref().and_then(|http2| http2.keep_alive);
        if let Some(keep_alive) = faults.need(keep_alive.as_ref(), "keep-alive") {
            faults.positive(keep_alive.interval.as_ref(), "keep-alive interval");
            faults.positive(keep_alive.timeout.as_ref(), "keep-alive timeout");
            faults.must(
                keep_alive.while_idle,
                "keep-alive stops on an idle connection",
            );
        }
        let gateway = self.authority_override.is_some();
        faults.must(!gateway, "authority override: a VM refuses to be a gateway");
        faults.must(self.weight > 0, "weight is 0");
        faults.0
    }
}

impl Checked for Update {
    fn faults(&self) -> Vec<String> {
        let mut faults = Faults::default();
        match self.update.as_ref() {
            Some(update::Update::Add(set)) => {
                faults.must(!set.addrs.is_empty(), "empty add: ignored");
                for endpoint in &set.addrs {
                    faults.part("endpoint", endpoint);
                }
                let addrs = set
                    .addrs
                    .iter()
                    .map(|endpoint| endpoint.addr.and_then(address));
                faults.must(distinct(addrs), "an address is added twice");
            }
            Some(update::Update::Remove(set)) => {
                faults.must(!set.addrs.is_empty(), "empty remove: ignored");
                let addrs = set.addrs.iter().map(|addr| address(*addr));
                faults.must(
                    addrs.clone().all(|addr| addr.is_some()),
                    "an address is unreadable",
                );
                faults.must(distinct(addrs), "an address is removed twice");
            }
            Some(update::Update::NoEndpoints(_)) => {}
            None => faults.must(false, "update is empty: ignored"),
        }
        faults.0
    }
}

impl Checked for DestinationProfile {
    fn faults(&self) -> Vec<String> {
        let mut faults = Faults::default();
        let name = &self.fully_qualified_name;
        faults.must(
            name.is_empty() || is_server_name(name),
            "name is no DNS name",
        );
        if let Some(endpoint) = &self.endpoint {
            faults.part("endpoint", endpoint);
            faults.must(name.is_empty(), "both a name and an endpoint");
        }
        let service_profile = !self.routes.is_empty() || !self.dst_overrides.is_empty();
        faults.must(!service_profile, "routes: they would replace the policy's");
        faults.0
    }
}

fn address(addr: TcpAddress) -> Option<SocketAddr> {
    (1..=u32::from(u16::MAX))
        .contains(&addr.port)
        .then(|| SocketAddr::try_from(addr).ok())?
}

fn distinct(addrs: impl Iterator<Item = Option<SocketAddr>>) -> bool {
    let mut seen = HashSet::new();
    addrs.into_iter().flatten().all(|addr| seen.insert(addr))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::endpoint::endpoint;
    use crate::mesh::testing::member;

    fn good(port: u16) -> WeightedAddr {
        let addr = SocketAddr::new("10.77.0.2".parse().unwrap(), port);
        endpoint(&member("vm-a"), addr).unwrap()
    }

    #[test]
    fn each_field_of_an_endpoint_is_missed() {
        let breaks: [fn(&mut WeightedAddr); 13] = [
            |e| e.addr = None,
            |e| e.addr.as_mut().unwrap().port = 65536,
            |e| e.tls_identity = None,
            |e| e.tls_identity.as_mut().unwrap().strategy = None,
            |e| e.tls_identity.as_mut().unwrap().server_name = None,
            |e| e.protocol_hint = None,
            |e| e.protocol_hint.as_mut().unwrap().protocol = None,
            |e| e.protocol_hint.as_mut().unwrap().opaque_transport = None,
            |e| {
                let hint = e.protocol_hint.as_mut().unwrap();
                hint.opaque_transport.as_mut().unwrap().inbound_port = 65535;
            },
            |e| e.http2 = None,
            |e| {
                e.http2
                    .as_mut()
                    .unwrap()
                    .keep_alive
                    .as_mut()
                    .unwrap()
                    .while_idle = false;
            },
            |e| {
                e.authority_override =
                    Some(linkerd2_proxy_api::destination::AuthorityOverride::default());
            },
            |e| e.weight = 0,
        ];
        assert_eq!(good(80).faults(), Vec::<String>::new());
        for (case, breaks) in breaks.iter().enumerate() {
            let mut endpoint = good(80);
            breaks(&mut endpoint);
            assert_ne!(endpoint.faults(), Vec::<String>::new(), "case {case}");
        }
    }

    #[test]
    fn updates_that_a_proxy_ignores_are_faults() {
        use linkerd2_proxy_api::destination::{AddrSet, WeightedAddrSet};
        let add = |addrs| {
            update::Update::Add(WeightedAddrSet {
                addrs,
                ..WeightedAddrSet::default()
            })
        };
        let remove = |addrs| update::Update::Remove(AddrSet { addrs });
        let addr = good(80).addr.unwrap();
        for (case, update) in [
            None,
            Some(add(vec![])),
            Some(add(vec![good(80), good(80)])),
            Some(add(vec![WeightedAddr::default()])),
            Some(remove(vec![])),
            Some(remove(vec![addr, addr])),
            Some(remove(vec![TcpAddress::default()])),
        ]
        .into_iter()
        .enumerate()
        {
            assert_ne!(
                Update { update }.faults(),
                Vec::<String>::new(),
                "case {case}"
            );
        }
    }

    #[test]
    fn a_profile_is_a_name_or_an_endpoint() {
        let mut profile = DestinationProfile::default();
        assert_eq!(profile.faults(), Vec::<String>::new());
        profile.endpoint = Some(good(4191));
        assert_eq!(profile.faults(), Vec::<String>::new());
        profile.fully_qualified_name = "a.b.svc.cluster.local".to_owned();
        assert_ne!(profile.faults(), Vec::<String>::new());
        profile.endpoint = None;
        assert_eq!(profile.faults(), Vec::<String>::new());
        profile.fully_qualified_name = "10.0.0.1".to_owned();
        assert_ne!(profile.faults(), Vec::<String>::new());
    }
}
