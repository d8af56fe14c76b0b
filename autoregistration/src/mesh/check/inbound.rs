//! Rules for inbound policies.

use linkerd2_proxy_api::inbound::authn::Permit;
use linkerd2_proxy_api::inbound::authn::permit_mesh_tls::Clients;
use linkerd2_proxy_api::inbound::proxy_protocol::Kind;
use linkerd2_proxy_api::inbound::{Authz, HttpRoute, Server};

use super::{Checked, Faults};
use crate::mesh::identity::is_spiffe_id;

impl Checked for Server {
    fn faults(&self) -> Vec<String> {
        let mut faults = Faults::default();
        let kind = self
            .protocol
            .as_ref()
            .and_then(|protocol| protocol.kind.as_ref());
        match faults.need(kind, "protocol") {
            Some(Kind::Detect(detect)) => {
                faults.positive(detect.timeout.as_ref(), "detect timeout");
                let none = detect.http_routes.is_empty();
                faults.must(!none, "no HTTP route: left to a fallback of the proxy");
                for route in &detect.http_routes {
                    faults.part("HTTP route", route);
                }
            }
            Some(Kind::Opaque(_)) | None => {}
            Some(_) => faults.must(false, "a protocol that is never sent"),
        }
        let label = |key: &str| self.labels.get(key).map(String::as_str);
        faults.must(
            label("name").is_some_and(|name| !name.is_empty()),
            "label name is missing",
        );
        let default = label("group") == Some("") && label("kind") == Some("default");
        faults.must(default, "labels are not those of a default");
        for authz in &self.authorizations {
            faults.part("authorization", authz);
        }
        faults.0
    }
}

/// A route without rules matches nothing: every request is a 404.
impl Checked for HttpRoute {
    fn faults(&self) -> Vec<String> {
        let mut faults = Faults::default();
        faults.metadata(self.metadata.as_ref());
        faults.must(!self.rules.is_empty(), "no rule");
        for rule in &self.rules {
            let paths = rule.matches.iter().filter_map(|one| one.path.as_ref());
            for path in paths {
                faults.must(path.kind.is_some(), "a path match without its kind");
            }
            let filled = rule.filters.iter().all(|filter| filter.kind.is_some());
            faults.must(filled, "a filter is empty: every request is a 500");
        }
        for authz in &self.authorizations {
            faults.part("authorization", authz);
        }
        faults.0
    }
}

/// One bad authorization voids the whole answer: every request is refused.
impl Checked for Authz {
    fn faults(&self) -> Vec<String> {
        let mut faults = Faults::default();
        faults.must(!self.networks.is_empty(), "no network");
        let networks = self.networks.iter().flat_map(|network| {
            std::iter::once(network.net).chain(network.except.iter().copied().map(Some))
        });
        for net in networks {
            let net = net.and_then(|net| ipnet::IpNet::try_from(net).ok());
            faults.must(net.is_some(), "a network is missing or unreadable");
        }
        let permit = self
            .authentication
            .as_ref()
            .and_then(|authn| authn.permit.as_ref());
        match faults.need(permit, "authentication") {
            Some(Permit::MeshTls(tls)) => match faults.need(tls.clients.as_ref(), "clients") {
                Some(Clients::Identities(ids)) => {
                    faults.must(!ids.identities.is_empty(), "no identity");
                    let spiffe = ids.identities.iter().all(|id| is_spiffe_id(&id.name));
                    faults.must(spiffe, "an identity is no SPIFFE ID");
                    faults.must(ids.suffixes.is_empty(), "suffixes never match a SPIFFE ID");
                }
                Some(Clients::Unauthenticated(_)) | None => {}
            },
            Some(Permit::Unauthenticated(_)) | None => {}
        }
        faults.metadata(self.metadata.as_ref());
        faults.0
    }
}

#[cfg(test)]
mod tests {
    use linkerd2_proxy_api::http_route::PathMatch;
    use linkerd2_proxy_api::inbound::http_route::Filter;
    use linkerd2_proxy_api::inbound::{IdentitySuffix, Network};

    use super::*;
    use crate::mesh::answer::Question as _;
    use crate::mesh::inbound::Inbound;
    use crate::mesh::testing::mesh;
    use crate::mesh::workload::Workload;

    fn good() -> Server {
        let mut view = mesh();
        "all-authenticated".clone_into(&mut view.settings.default_inbound_policy);
        let workload = Workload::parse("training:vm-a").unwrap();
        Inbound { workload, port: 80 }
            .answer(&view)
            .state()
            .unwrap()
    }

    fn routes(server: &mut Server) -> &mut Vec<HttpRoute> {
        match server.protocol.as_mut().unwrap().kind.as_mut().unwrap() {
            Kind::Detect(detect) => &mut detect.http_routes,
            other => panic!("{other:?}"),
        }
    }

    fn clients(server: &mut Server) -> &mut Option<Clients> {
        let authn = server.authorizations[0].authentication.as_mut().unwrap();
        match authn.permit.as_mut().unwrap() {
            Permit::MeshTls(tls) => &mut tls.clients,
            Permit::Unauthenticated(_) => panic!("unauthenticated"),
        }
    }

    fn identities(
        server: &mut Server,
    ) -> &mut linkerd2_proxy_api::inbound::authn::permit_mesh_tls::PermitClientIdentities {
        match clients(server).as_mut().unwrap() {
            Clients::Identities(ids) => ids,
            Clients::Unauthenticated(_) => panic!("unauthenticated"),
        }
    }

    #[test]
    fn each_compulsory_field_is_missed() {
        let breaks: [fn(&mut Server); 20] = [
            |s| s.protocol = None,
            |s| s.protocol.as_mut().unwrap().kind = None,
            |s| match s.protocol.as_mut().unwrap().kind.as_mut().unwrap() {
                Kind::Detect(detect) => detect.timeout = None,
                other => panic!("{other:?}"),
            },
            |s| routes(s).clear(),
            |s| routes(s)[0].metadata = None,
            |s| routes(s)[0].rules.clear(),
            |s| routes(s)[0].rules[0].filters.push(Filter::default()),
            |s| routes(s)[0].rules[0].matches[0].path = Some(PathMatch::default()),
            |s| routes(s)[0].authorizations.push(Authz::default()),
            |s| s.labels.clear(),
            |s| {
                s.labels.remove("name");
            },
            |s| s.authorizations[0].networks.clear(),
            |s| s.authorizations[0].networks.push(Network::default()),
            |s| s.authorizations[0].authentication = None,
            |s| s.authorizations[0].authentication.as_mut().unwrap().permit = None,
            |s| s.authorizations[0].metadata = None,
            |s| *clients(s) = None,
            |s| identities(s).identities.clear(),
            |s| identities(s).identities[0].name = "*".to_owned(),
            |s| identities(s).suffixes.push(IdentitySuffix::default()),
        ];
        assert_eq!(good().faults(), Vec::<String>::new());
        for (case, breaks) in breaks.iter().enumerate() {
            let mut server = good();
            breaks(&mut server);
            assert_ne!(server.faults(), Vec::<String>::new(), "case {case}");
        }
    }
}
