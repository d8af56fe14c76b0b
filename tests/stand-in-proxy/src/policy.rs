//! Who may use a port of this host, and what is spoken there: pure rules.

pub(crate) mod decode;
pub(crate) mod defaults;

use crate::labels::ServerTls;
use crate::names::Id;
use crate::route::{HttpMatch, Target};
use ipnet::IpNet;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// The policy of one port.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ServerPolicy {
    pub(crate) protocol: Protocol,
    pub(crate) meta: Meta,
    pub(crate) authorizations: Arc<[Authorization]>,
    /// Empty means that every request takes the default route.
    pub(crate) routes: Arc<[Route]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Detect(Duration),
    Http1,
    Http2,
    Grpc,
    Tls,
    Opaque,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Route {
    pub(crate) meta: Meta,
    pub(crate) matching: HttpMatch,
    /// Those of the route, and then those of the server.
    pub(crate) authorizations: Arc<[Authorization]>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Authorization {
    pub(crate) networks: Vec<Network>,
    pub(crate) authentication: Authentication,
    pub(crate) meta: Meta,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Network {
    pub(crate) net: IpNet,
    pub(crate) except: Vec<IpNet>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Authentication {
    Unauthenticated,
    /// Any client that came over TLS, with or without a certificate.
    AnyTls,
    /// Exact identities, and suffixes that hold for DNS names only; the empty suffix holds for all of those.
    Identities {
        exact: BTreeSet<String>,
        suffixes: Vec<String>,
    },
}

/// What a thing is called in metrics and logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) group: String,
    pub(crate) kind: String,
    pub(crate) name: String,
}

impl Meta {
    pub(crate) fn default_named(name: &str) -> Self {
        Self {
            group: String::new(),
            kind: "default".into(),
            name: name.into(),
        }
    }

    /// As labels with a prefix.
    pub(crate) fn labels(&self, prefix: &str) -> String {
        let Self { group, kind, name } = self;
        format!(r#"{prefix}_group="{group}",{prefix}_kind="{kind}",{prefix}_name="{name}""#)
    }
}

/// A request that policy lets through: the route and the authorization that did it.
#[derive(Clone, Debug)]
pub(crate) struct Permit {
    pub(crate) route: Meta,
    pub(crate) authorization: Meta,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// 404: the port's policy has no HTTP routes at all, or none that fits.
    NoRoute,
    /// 403.
    Unauthorized(Meta),
}

impl ServerPolicy {
    /// What an answer that cannot be understood turns into: nothing is allowed.
    pub(crate) fn invalid(timeout: Duration) -> Self {
        Self {
            protocol: Protocol::Detect(timeout),
            meta: Meta::default_named("invalid"),
            authorizations: Arc::new([]),
            routes: Arc::new([]),
        }
    }

    /// May this client open an opaque connection? Ports that are HTTP by policy take none.
    pub(crate) fn permit_tcp(&self, client: IpAddr, tls: &ServerTls) -> Option<&Authorization> {
        match self.protocol {
            Protocol::Detect(_) | Protocol::Tls | Protocol::Opaque => {
                find(&self.authorizations, client, tls)
            }
            Protocol::Http1 | Protocol::Http2 | Protocol::Grpc => None,
        }
    }

    /// May this client make this request?
    pub(crate) fn permit_http(
        &self,
        client: IpAddr,
        tls: &ServerTls,
        target: &Target<'_>,
    ) -> Result<Permit, Refusal> {
        if matches!(self.protocol, Protocol::Tls | Protocol::Opaque) {
            return Err(Refusal::NoRoute);
        }
        let (route, authorizations) = if self.routes.is_empty() {
            (Meta::default_named("default"), &self.authorizations)
        } else {
            let route = self
                .routes
                .iter()
                .find(|route| route.matching.matches(target))
                .ok_or(Refusal::NoRoute)?;
            (route.meta.clone(), &route.authorizations)
        };
        match find(authorizations, client, tls) {
            Some(authorization) => Ok(Permit {
                route,
                authorization: authorization.meta.clone(),
            }),
            None => Err(Refusal::Unauthorized(route)),
        }
    }
}

fn find<'a>(
    authorizations: &'a [Authorization],
    client: IpAddr,
    tls: &ServerTls,
) -> Option<&'a Authorization> {
    authorizations.iter().find(|authorization| {
        authorization
            .networks
            .iter()
            .any(|network| network.contains(client))
            && authorization.authentication.admits(tls)
    })
}

impl Network {
    fn contains(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.net.contains(&ip) && !self.except.iter().any(|net| net.contains(&ip))
    }
}

impl Authentication {
    fn admits(&self, tls: &ServerTls) -> bool {
        match self {
            Self::Unauthenticated => true,
            Self::AnyTls => matches!(tls, ServerTls::Established(_)),
            Self::Identities { exact, suffixes } => match tls.client_id() {
                None => false,
                Some(Id::Uri(uri)) => exact.contains(uri),
                Some(Id::Dns(name)) => {
                    exact.contains(name) || suffixes.iter().any(|suffix| has_suffix(name, suffix))
                }
            },
        }
    }
}

fn has_suffix(name: &str, suffix: &str) -> bool {
    suffix.is_empty()
        || name == suffix
        || name
            .strip_suffix(suffix)
            .is_some_and(|rest| rest.ends_with('.'))
}

#[cfg(test)]
mod tests;
