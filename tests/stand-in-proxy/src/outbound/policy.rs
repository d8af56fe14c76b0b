//! The policy of a destination, and what the real proxy refuses to read.

use super::endpoint::Endpoint;
use crate::detect::Protocol as Detected;
use crate::policy::decode::{duration, from_metadata};
use crate::route::{HttpMatch, Target};
use linkerd2_proxy_api::meta;
use linkerd2_proxy_api::outbound::{
    self as api, backend, http_route, opaque_route, proxy_protocol,
};
use rand::Rng as _;
use std::collections::HashMap;
use std::time::Duration;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum ClientPolicy {
    Detect {
        opaque: Opaque,
        http1: Vec<HttpRoute>,
        http2: Vec<HttpRoute>,
    },
    Opaque(Opaque),
    Http1(Vec<HttpRoute>),
    Http2(Vec<HttpRoute>),
    /// An answer that could not be read: every request fails, every stream is closed.
    Invalid,
}

/// What a connection is before its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Detect,
    Opaque,
    Http(Detected),
}

/// `None` where no route fits or a filter forbids it.
pub(super) type Opaque = Option<Distribution>;

#[derive(Clone, Debug, PartialEq)]
pub(super) struct HttpRoute {
    pub(super) matching: HttpMatch,
    pub(super) distribution: Distribution,
}

/// Backends with their weights; the first alone where the distribution is by availability.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Distribution(Vec<(Backend, u32)>);

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Backend {
    pub(super) failfast: Duration,
    pub(super) dispatcher: Dispatcher,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Dispatcher {
    Forward(Endpoint),
    /// A path for the destination API.
    Balance(String),
    /// Every request fails.
    None,
}

impl ClientPolicy {
    /// What rules where the controller knows nothing: one endpoint for everything.
    pub(super) fn forward(endpoint: Endpoint, failfast: Duration) -> Self {
        let backend = Backend {
            failfast,
            dispatcher: Dispatcher::Forward(endpoint),
        };
        let distribution = Distribution(vec![(backend, 1)]);
        let route = HttpRoute {
            matching: HttpMatch::default(),
            distribution: distribution.clone(),
        };
        Self::Detect {
            opaque: Some(distribution),
            http1: vec![route.clone()],
            http2: vec![route],
        }
    }

    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Detect { .. } | Self::Invalid => Kind::Detect,
            Self::Opaque(_) => Kind::Opaque,
            Self::Http1(_) => Kind::Http(Detected::Http1),
            Self::Http2(_) => Kind::Http(Detected::Http2),
        }
    }

    /// The backend of an opaque stream.
    pub(super) fn opaque(&self) -> Option<&Backend> {
        match self {
            Self::Detect { opaque, .. } | Self::Opaque(opaque) => opaque.as_ref()?.pick(),
            Self::Http1(_) | Self::Http2(_) | Self::Invalid => None,
        }
    }

    /// The routes of a protocol; `None` where the policy has none for HTTP at all.
    pub(super) fn http(&self, protocol: Detected) -> Option<&[HttpRoute]> {
        match self {
            Self::Detect { http1, http2, .. } => Some(if protocol == Detected::Http2 {
                http2
            } else {
                http1
            }),
            Self::Http1(routes) | Self::Http2(routes) => Some(routes),
            Self::Opaque(_) | Self::Invalid => None,
        }
    }
}

impl HttpRoute {
    pub(super) fn find<'a>(routes: &'a [Self], target: &Target<'_>) -> Option<&'a Self> {
        routes.iter().find(|route| route.matching.matches(target))
    }
}

impl Distribution {
    pub(super) fn pick(&self) -> Option<&Backend> {
        let total: u32 = self.0.iter().map(|(_, weight)| weight).sum();
        let mut at = if total == 0 {
            0
        } else {
            rand::rng().random_range(0..total)
        };
        for (backend, weight) in &self.0 {
            if at < *weight {
                return Some(backend);
            }
            at -= weight;
        }
        self.0.first().map(|(backend, _)| backend)
    }
}

impl TryFrom<api::OutboundPolicy> for ClientPolicy {
    type Error = String;

    fn try_from(policy: api::OutboundPolicy) -> Result<Self, String> {
        metadata(policy.metadata)?;
        let kind = policy
            .protocol
            .and_then(|protocol| protocol.kind)
            .ok_or("missing protocol kind")?;
        Ok(match kind {
            proxy_protocol::Kind::Detect(detect) => {
                // Compulsory, and then ignored: the environment's timeout rules.
                duration(
                    detect
                        .timeout
                        .ok_or("Detect missing protocol detection timeout")?,
                )?;
                Self::Detect {
                    http1: http_routes(
                        detect
                            .http1
                            .ok_or("Detect missing HTTP/1 configuration")?
                            .routes,
                    )?,
                    http2: http_routes(
                        detect
                            .http2
                            .ok_or("Detect missing HTTP/2 configuration")?
                            .routes,
                    )?,
                    opaque: opaque(
                        detect
                            .opaque
                            .ok_or("Detect missing opaque configuration")?
                            .routes,
                    )?,
                }
            }
            proxy_protocol::Kind::Opaque(it) => Self::Opaque(opaque(it.routes)?),
            proxy_protocol::Kind::Http1(it) => Self::Http1(http_routes(it.routes)?),
            proxy_protocol::Kind::Http2(it) => Self::Http2(http_routes(it.routes)?),
            proxy_protocol::Kind::Grpc(_) | proxy_protocol::Kind::Tls(_) => {
                return Err("the stand-in has no gRPC and no TLS routes".into());
            }
        })
    }
}

/// Every part must be named, and a resource completely.
fn metadata(metadata: Option<meta::Metadata>) -> Result<(), String> {
    let metadata = metadata.ok_or("missing metadata")?;
    if let Some(meta::metadata::Kind::Resource(resource)) = &metadata.kind {
        for (value, name) in [
            (&resource.group, "group"),
            (&resource.kind, "kind"),
            (&resource.name, "name"),
            (&resource.namespace, "namespace"),
        ] {
            if value.is_empty() {
                return Err(format!("invalid metadata: {name} must not be empty"));
            }
        }
    }
    from_metadata(metadata).map(|_| ())
}

fn http_routes(routes: Vec<api::HttpRoute>) -> Result<Vec<HttpRoute>, String> {
    use http_route::distribution::Kind::{Empty, FirstAvailable, RandomAvailable};
    let mut out = Vec::new();
    for route in routes {
        metadata(route.metadata)?;
        for rule in route.rules {
            let kind = rule
                .backends
                .and_then(|backends| backends.kind)
                .ok_or("missing distribution kind")?;
            let weighted = match kind {
                Empty(_) => Vec::new(),
                FirstAvailable(it) => first(it.backends)?,
                RandomAvailable(it) => some(
                    it.backends
                        .into_iter()
                        .map(|one| (one.backend, one.weight))
                        .collect(),
                )?,
            };
            let distribution = weighted
                .into_iter()
                .map(|(one, weight)| Ok((backend(one.and_then(|one| one.backend))?, weight)));
            out.push(HttpRoute {
                matching: HttpMatch::new(&route.hosts, &rule.matches)?,
                distribution: Distribution(distribution.collect::<Result<_, String>>()?),
            });
        }
    }
    Ok(out)
}

fn opaque(routes: Vec<api::OpaqueRoute>) -> Result<Opaque, String> {
    use opaque_route::distribution::Kind::{Empty, FirstAvailable, RandomAvailable};
    let Some(route) = routes.into_iter().next() else {
        return Ok(None);
    };
    metadata(route.metadata)?;
    let Some(rule) = route.rules.into_iter().next() else {
        return Ok(None);
    };
    let kind = rule
        .backends
        .and_then(|backends| backends.kind)
        .ok_or("missing distribution kind")?;
    let weighted = match kind {
        Empty(_) => Vec::new(),
        FirstAvailable(it) => first(it.backends)?,
        RandomAvailable(it) => some(
            it.backends
                .into_iter()
                .map(|one| (one.backend, one.weight))
                .collect(),
        )?,
    };
    let backends = weighted
        .into_iter()
        .map(|(one, weight)| Ok((backend(one.and_then(|one| one.backend))?, weight)))
        .collect::<Result<_, String>>()?;
    // Each of the filters that there are (forbidden, invalid) closes the connection.
    Ok(rule.filters.is_empty().then_some(Distribution(backends)))
}

fn first<B>(backends: Vec<B>) -> Result<Vec<(Option<B>, u32)>, String> {
    let first = backends
        .into_iter()
        .next()
        .ok_or("a FirstAvailable distribution may not be empty")?;
    Ok(vec![(Some(first), 1)])
}

fn some<B>(backends: Vec<(Option<B>, u32)>) -> Result<Vec<(Option<B>, u32)>, String> {
    if backends.is_empty() {
        Err("a RandomAvailable distribution may not be empty".into())
    } else {
        Ok(backends)
    }
}

fn backend(backend: Option<api::Backend>) -> Result<Backend, String> {
    let backend = backend.ok_or("missing backend")?;
    metadata(backend.metadata)?;
    let queue = backend.queue.ok_or("missing queue")?;
    let failfast = duration(
        queue
            .failfast_timeout
            .ok_or("missing queue failfast timeout")?,
    )?;
    let dispatcher = match backend.kind {
        None => Dispatcher::None,
        Some(backend::Kind::Forward(endpoint)) => Dispatcher::Forward(
            Endpoint::decode(endpoint, &HashMap::new()).ok_or("invalid forward endpoint")?,
        ),
        Some(backend::Kind::Balancer(balancer)) => {
            if balancer.load.is_none() {
                return Err("missing balancer load".into());
            }
            let discovery = balancer
                .discovery
                .and_then(|discovery| discovery.kind)
                .ok_or("missing discovery kind")?;
            let backend::endpoint_discovery::Kind::Dst(dst) = discovery;
            Dispatcher::Balance(dst.path)
        }
    };
    Ok(Backend {
        failfast,
        dispatcher,
    })
}

#[cfg(test)]
mod tests;
