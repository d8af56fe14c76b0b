//! Reads the policy controller's answer, and refuses what the real proxy refuses.

use super::{Authentication, Authorization, Meta, Network, Protocol, Route, ServerPolicy};
use crate::route::HttpMatch;
use ipnet::IpNet;
use linkerd2_proxy_api::inbound as api;
use linkerd2_proxy_api::inbound::proxy_protocol::Kind;
use linkerd2_proxy_api::meta::{self, metadata};
use std::collections::{BTreeSet, HashMap};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

impl TryFrom<api::Server> for ServerPolicy {
    type Error = String;

    fn try_from(server: api::Server) -> Result<Self, String> {
        let kind = server
            .protocol
            .and_then(|protocol| protocol.kind)
            .ok_or("missing protocol kind")?;
        let mut authorizations = server
            .authorizations
            .into_iter()
            .map(authorization)
            .collect::<Result<Vec<_>, _>>()?;
        // Whatever the controller says, the host itself is let in.
        authorizations.push(localhost());
        let (protocol, routes) = match kind {
            Kind::Detect(detect) => {
                let timeout = detect.timeout.ok_or("missing protocol detection timeout")?;
                (
                    Protocol::Detect(duration(timeout)?),
                    http_routes(detect.http_routes, &authorizations)?,
                )
            }
            Kind::Http1(http) => (Protocol::Http1, http_routes(http.routes, &authorizations)?),
            Kind::Http2(http) => (Protocol::Http2, http_routes(http.routes, &authorizations)?),
            Kind::Grpc(_) => (Protocol::Grpc, Vec::new()),
            Kind::Tls(_) => (Protocol::Tls, Vec::new()),
            Kind::Opaque(_) => (Protocol::Opaque, Vec::new()),
        };
        let meta = from_labels(&server.labels, "policy.linkerd.io", "server")?;
        Ok(Self {
            protocol,
            meta,
            authorizations: authorizations.into(),
            routes: routes.into(),
        })
    }
}

pub(crate) fn duration(duration: prost_types::Duration) -> Result<Duration, String> {
    duration
        .try_into()
        .map_err(|error| format!("invalid duration: {error}"))
}

fn localhost() -> Authorization {
    let local = [
        IpNet::from(std::net::IpAddr::from(Ipv4Addr::LOCALHOST)),
        std::net::IpAddr::from(Ipv6Addr::LOCALHOST).into(),
    ];
    Authorization {
        networks: local
            .into_iter()
            .map(|net| Network {
                net,
                except: Vec::new(),
            })
            .collect(),
        authentication: Authentication::Unauthenticated,
        meta: Meta::default_named("localhost"),
    }
}

fn authorization(authz: api::Authz) -> Result<Authorization, String> {
    if authz.networks.is_empty() {
        return Err("authorization has no networks".into());
    }
    let permit = authz
        .authentication
        .and_then(|authn| authn.permit)
        .ok_or("missing authentication")?;
    let authentication = match permit {
        api::authn::Permit::Unauthenticated(_) => Authentication::Unauthenticated,
        api::authn::Permit::MeshTls(mesh) => match mesh.clients.ok_or("missing TLS clients")? {
            api::authn::permit_mesh_tls::Clients::Unauthenticated(_) => Authentication::AnyTls,
            api::authn::permit_mesh_tls::Clients::Identities(clients) => {
                Authentication::Identities {
                    exact: clients
                        .identities
                        .into_iter()
                        .map(|identity| identity.name)
                        .collect::<BTreeSet<_>>(),
                    suffixes: clients
                        .suffixes
                        .into_iter()
                        .map(|suffix| suffix.parts.join("."))
                        .collect(),
                }
            }
        },
    };
    let meta = match authz.metadata {
        Some(metadata) => from_metadata(metadata)?,
        None => from_labels(&authz.labels, "policy.linkerd.io", "serverauthorization")?,
    };
    Ok(Authorization {
        networks: authz
            .networks
            .into_iter()
            .map(network)
            .collect::<Result<_, _>>()?,
        authentication,
        meta,
    })
}

fn network(network: api::Network) -> Result<Network, String> {
    let net = |net: linkerd2_proxy_api::net::IpNetwork| {
        IpNet::try_from(net).map_err(|error| format!("invalid network: {error}"))
    };
    Ok(Network {
        net: net(network.net.ok_or("missing network")?)?,
        except: network
            .except
            .into_iter()
            .map(net)
            .collect::<Result<_, _>>()?,
    })
}

fn http_routes(
    routes: Vec<api::HttpRoute>,
    server: &[Authorization],
) -> Result<Vec<Route>, String> {
    let mut out = Vec::new();
    for route in routes {
        let meta = from_metadata(route.metadata.ok_or("route is missing metadata")?)?;
        let own = route
            .authorizations
            .into_iter()
            .map(authorization)
            .collect::<Result<Vec<_>, _>>()?;
        let authorizations: Arc<[_]> = own.into_iter().chain(server.iter().cloned()).collect();
        for rule in route.rules {
            let matching = HttpMatch::new(&route.hosts, &rule.matches)?;
            out.push(Route {
                meta: meta.clone(),
                matching,
                authorizations: Arc::clone(&authorizations),
            });
        }
    }
    Ok(out)
}

/// Resources need all of their coordinates.
pub(crate) fn from_metadata(metadata: meta::Metadata) -> Result<Meta, String> {
    match metadata.kind.ok_or("metadata is missing its kind")? {
        metadata::Kind::Default(name) => Ok(Meta::default_named(&name)),
        metadata::Kind::Resource(meta::Resource {
            group, kind, name, ..
        }) => Ok(Meta { group, kind, name }),
    }
}

fn from_labels(labels: &HashMap<String, String>, group: &str, kind: &str) -> Result<Meta, String> {
    let name = labels.get("name").ok_or("missing label: name")?.clone();
    let or = |key: &str, default: &str| {
        labels
            .get(key)
            .map_or_else(|| default.to_owned(), Clone::clone)
    };
    Ok(Meta {
        group: or("group", group),
        kind: or("kind", kind),
        name,
    })
}
