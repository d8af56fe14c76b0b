//! `OutboundPolicies.Watch`: how a proxy treats its workload's connections to an address.
//!
//! A Service's port is balanced over its endpoints. For a member's own address the answer is `NotFound`, because a
//! policy would take precedence over the endpoint in the profile, and with it over the member's identity. `NotFound`
//! for any other address sends the connection where it was dialled, so that it waits as the profile does.

use std::time::Duration;

use linkerd2_proxy_api::meta::{Metadata, Resource, metadata};
use linkerd2_proxy_api::opaque_route::Forbidden;
use linkerd2_proxy_api::outbound::backend::balance_p2c::{Load, PeakEwma};
use linkerd2_proxy_api::outbound::backend::endpoint_discovery::{self, DestinationGet};
use linkerd2_proxy_api::outbound::backend::{self, BalanceP2c, EndpointDiscovery};
use linkerd2_proxy_api::outbound::proxy_protocol::{self, Detect, Http1, Http2, Opaque};
use linkerd2_proxy_api::outbound::{
    Backend, HttpRoute, OpaqueRoute, OutboundPolicy, ProxyProtocol, Queue, http_route, opaque_route,
};

use super::answer::{Answer, Question};
use super::target::{Known, Target};
use super::{hold, service};
use crate::view::{Service, View};

/// Compulsory and ignored: proxies use their own setting for outbound connections.
const DETECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Requests that wait for an endpoint.
const QUEUE_CAPACITY: u32 = 100;
/// How long a request waits for an endpoint before it fails.
const FAILFAST_TIMEOUT: Duration = Duration::from_secs(3);
/// Parameters of the load estimate, those of Linkerd's control plane.
const DEFAULT_RTT: Duration = Duration::from_millis(30);
const DECAY: Duration = Duration::from_secs(10);

/// How to reach this.
#[derive(Clone, Debug)]
pub(super) struct Outbound(pub(super) Target);

// === impl Outbound ===

impl Question for Outbound {
    type State = OutboundPolicy;
    type Message = OutboundPolicy;

    fn answer(&self, view: &View) -> Answer<OutboundPolicy> {
        match self.0.look_up(view) {
            Known::Service(service, port) => {
                let number = match self.0 {
                    Target::Address(addr) => addr.port(),
                    Target::Host(_, port) => port,
                    Target::Other => 0,
                };
                let meta = resource(service, number);
                let host = service::host(view, service);
                Answer::Give(match port.zip(host) {
                    Some((port, host)) => {
                        let backend = balancer(&meta, format!("{host}:{}", port.port));
                        balanced(meta, backend, service::is_opaque(view, service, port))
                    }
                    // Nobody has this address and port: a reset at once beats a connect that times out.
                    None => forbidden(meta),
                })
            }
            Known::Address(addr)
                if view.member_by_ip(addr.ip()).is_none()
                    && hold::may_be_member(view, addr.ip()) =>
            {
                Answer::Hold
            }
            Known::Address(_) => Answer::Unknown("no Service has this address"),
            Known::Nothing => Answer::Unknown("no Service has this name"),
        }
    }

    fn messages(_: Option<OutboundPolicy>, now: OutboundPolicy) -> Vec<OutboundPolicy> {
        vec![now]
    }
}

/// A port whose connections go to the best of `backend`'s endpoints.
fn balanced(meta: Metadata, backend: Backend, is_opaque: bool) -> OutboundPolicy {
    let routes = vec![http_route(&meta, &backend)];
    let opaque = Opaque {
        routes: vec![opaque_route(&meta, backend)],
    };
    let kind = if is_opaque {
        proxy_protocol::Kind::Opaque(opaque)
    } else {
        proxy_protocol::Kind::Detect(Detect {
            timeout: duration(DETECT_TIMEOUT),
            opaque: Some(opaque),
            http1: Some(Http1 {
                routes: routes.clone(),
                failure_accrual: None,
            }),
            http2: Some(Http2 {
                routes,
                failure_accrual: None,
            }),
        })
    };
    policy(meta, kind)
}

/// A port to which every connection is reset.
fn forbidden(meta: Metadata) -> OutboundPolicy {
    let rule = opaque_route::Rule {
        backends: Some(opaque_route::Distribution {
            kind: Some(opaque_route::distribution::Kind::Empty(
                opaque_route::distribution::Empty {},
            )),
        }),
        filters: vec![opaque_route::Filter {
            kind: Some(opaque_route::filter::Kind::Forbidden(Forbidden {})),
        }],
    };
    let route = OpaqueRoute {
        metadata: Some(meta.clone()),
        rules: vec![rule],
    };
    let kind = proxy_protocol::Kind::Opaque(Opaque {
        routes: vec![route],
    });
    policy(meta, kind)
}

fn policy(meta: Metadata, kind: proxy_protocol::Kind) -> OutboundPolicy {
    OutboundPolicy {
        protocol: Some(ProxyProtocol { kind: Some(kind) }),
        metadata: Some(meta),
    }
}

/// Without matches a rule matches everything.
fn http_route(meta: &Metadata, backend: &Backend) -> HttpRoute {
    use http_route::{Distribution, RouteBackend, Rule, distribution};
    let backends = vec![RouteBackend {
        backend: Some(backend.clone()),
        ..RouteBackend::default()
    }];
    let first = distribution::FirstAvailable { backends };
    HttpRoute {
        metadata: Some(meta.clone()),
        hosts: Vec::new(),
        rules: vec![Rule {
            backends: Some(Distribution {
                kind: Some(distribution::Kind::FirstAvailable(first)),
            }),
            ..Rule::default()
        }],
    }
}

/// Proxies take one opaque route with one rule, not more and not less.
fn opaque_route(meta: &Metadata, backend: Backend) -> OpaqueRoute {
    use opaque_route::{Distribution, RouteBackend, Rule, distribution};
    let backends = vec![RouteBackend {
        backend: Some(backend),
        filters: Vec::new(),
    }];
    let first = distribution::FirstAvailable { backends };
    OpaqueRoute {
        metadata: Some(meta.clone()),
        rules: vec![Rule {
            backends: Some(Distribution {
                kind: Some(distribution::Kind::FirstAvailable(first)),
            }),
            filters: Vec::new(),
        }],
    }
}

fn balancer(meta: &Metadata, path: String) -> Backend {
    Backend {
        metadata: Some(meta.clone()),
        queue: Some(Queue {
            capacity: QUEUE_CAPACITY,
            failfast_timeout: duration(FAILFAST_TIMEOUT),
        }),
        kind: Some(backend::Kind::Balancer(BalanceP2c {
            discovery: Some(EndpointDiscovery {
                kind: Some(endpoint_discovery::Kind::Dst(DestinationGet { path })),
            }),
            load: Some(Load::PeakEwma(PeakEwma {
                default_rtt: duration(DEFAULT_RTT),
                decay: duration(DECAY),
            })),
        })),
    }
}

fn resource(service: &Service, port: u16) -> Metadata {
    Metadata {
        kind: Some(metadata::Kind::Resource(Resource {
            group: "core".to_owned(),
            kind: "Service".to_owned(),
            name: service.name.clone(),
            namespace: service.namespace.clone(),
            section: String::new(),
            port: port.into(),
        })),
    }
}

fn duration(duration: Duration) -> Option<prost_types::Duration> {
    prost_types::Duration::try_from(duration).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::check::Checked as _;
    use crate::mesh::testing::{MEMBER_IP, SERVICE_IP, mesh};

    fn policy_of(view: &View, path: &str) -> Answer<OutboundPolicy> {
        let answer = Outbound(Target::parse(path).unwrap()).answer(view);
        if let Answer::Give(policy) = &answer {
            assert_eq!(policy.faults(), Vec::<String>::new(), "{path}");
        }
        answer
    }

    fn kind_of(view: &View, path: &str) -> proxy_protocol::Kind {
        policy_of(view, path)
            .state()
            .unwrap()
            .protocol
            .unwrap()
            .kind
            .unwrap()
    }

    #[test]
    fn a_service_is_balanced_whatever_the_protocol() {
        let view = mesh();
        let name = "training-vm.training.svc.cluster.local:80";
        let proxy_protocol::Kind::Detect(detect) = kind_of(&view, &format!("{SERVICE_IP}:80"))
        else {
            panic!("not detected");
        };
        let text = format!("{detect:?}");
        assert_eq!(
            text.matches(&format!("path: {name:?}")).count(),
            3,
            "{text}"
        );
        assert_eq!(kind_of(&view, name), proxy_protocol::Kind::Detect(detect));
    }

    #[test]
    fn an_opaque_port_is_not_looked_into() {
        let mut view = mesh();
        view.services
            .values_mut()
            .for_each(|s| s.ports[0].port = 3306);
        view.members.clear();
        let kind = kind_of(&view, &format!("{SERVICE_IP}:3306"));
        let proxy_protocol::Kind::Opaque(opaque) = kind else {
            panic!("{kind:?}")
        };
        assert!(opaque.routes[0].rules[0].filters.is_empty());
    }

    #[test]
    fn a_port_that_a_service_does_not_have_is_forbidden() {
        let mut view = mesh();
        let forbidden = |view: &View, path: &str| {
            let kind = kind_of(view, path);
            let proxy_protocol::Kind::Opaque(opaque) = kind else {
                panic!("{kind:?}")
            };
            let rule = &opaque.routes[0].rules[0];
            let filter = opaque_route::filter::Kind::Forbidden(Forbidden {});
            assert_eq!(rule.filters[0].kind, Some(filter));
        };
        forbidden(&view, &format!("{SERVICE_IP}:81"));
        // So is a Service whose name would panic a proxy.
        view.settings.cluster_domain = "not a name".to_owned();
        forbidden(&view, &format!("{SERVICE_IP}:80"));
    }

    #[test]
    fn members_and_unknown_addresses_have_no_policy() {
        let mut view = mesh();
        let member = format!("{MEMBER_IP}:80");
        for path in [&member, "10.77.0.99:80", "192.0.2.1:80", "example.com:80"] {
            assert!(
                matches!(policy_of(&view, path), Answer::Unknown(_)),
                "{path}"
            );
        }
        view.restored = false;
        assert!(matches!(policy_of(&view, &member), Answer::Unknown(_)));
        assert_eq!(policy_of(&view, "10.77.0.99:80"), Answer::Hold);
        assert!(
            policy_of(&view, &format!("{SERVICE_IP}:80"))
                .state()
                .is_some()
        );
    }
}
