//! Field by field: what is missing makes the whole answer unreadable.

use super::*;

fn named(name: &str) -> meta::Metadata {
    meta::Metadata {
        kind: Some(meta::metadata::Kind::Default(name.into())),
    }
}

fn seconds(seconds: i64) -> prost_types::Duration {
    prost_types::Duration { seconds, nanos: 0 }
}

fn mk_backend() -> api::Backend {
    api::Backend {
        metadata: Some(named("backend")),
        queue: Some(api::Queue {
            capacity: 100,
            failfast_timeout: Some(seconds(3)),
        }),
        kind: Some(backend::Kind::Balancer(backend::BalanceP2c {
            discovery: Some(backend::EndpointDiscovery {
                kind: Some(backend::endpoint_discovery::Kind::Dst(
                    backend::endpoint_discovery::DestinationGet {
                        path: "web.ns.svc.cluster.local:80".into(),
                    },
                )),
            }),
            load: Some(backend::balance_p2c::Load::PeakEwma(
                backend::balance_p2c::PeakEwma::default(),
            )),
        })),
    }
}

fn mk_http(backend: api::Backend) -> api::HttpRoute {
    let backends = vec![http_route::RouteBackend {
        backend: Some(backend),
        ..Default::default()
    }];
    let kind =
        http_route::distribution::Kind::FirstAvailable(http_route::distribution::FirstAvailable {
            backends,
        });
    api::HttpRoute {
        metadata: Some(named("route")),
        rules: vec![http_route::Rule {
            backends: Some(http_route::Distribution { kind: Some(kind) }),
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn mk_policy(backend: api::Backend) -> api::OutboundPolicy {
    let route = mk_http(backend);
    let detect = proxy_protocol::Detect {
        timeout: Some(seconds(10)),
        opaque: Some(proxy_protocol::Opaque { routes: vec![] }),
        http1: Some(proxy_protocol::Http1 {
            routes: vec![route.clone()],
            failure_accrual: None,
        }),
        http2: Some(proxy_protocol::Http2 {
            routes: vec![route],
            failure_accrual: None,
        }),
    };
    let kind = Some(proxy_protocol::Kind::Detect(detect));
    api::OutboundPolicy {
        metadata: Some(named("policy")),
        protocol: Some(api::ProxyProtocol { kind }),
    }
}

#[test]
fn a_complete_policy_leads_to_its_balancer() {
    let policy = ClientPolicy::try_from(mk_policy(mk_backend())).unwrap();
    let request = http::Request::new(());
    let route =
        HttpRoute::find(policy.http(Detected::Http1).unwrap(), &Target::of(&request)).unwrap();
    let backend = route.distribution.pick().unwrap();
    assert_eq!(
        backend.dispatcher,
        Dispatcher::Balance("web.ns.svc.cluster.local:80".into())
    );
    assert_eq!(backend.failfast, Duration::from_secs(3));
    assert_eq!(
        policy.opaque(),
        None,
        "no opaque route: such connections are closed"
    );
}

#[test]
fn each_missing_field_spoils_the_answer() {
    let backends: [fn(&mut api::Backend); 5] = [
        |b| b.metadata = None,
        |b| b.queue = None,
        |b| b.queue.as_mut().unwrap().failfast_timeout = None,
        |b| {
            if let Some(backend::Kind::Balancer(balancer)) = &mut b.kind {
                balancer.load = None;
            }
        },
        |b| {
            if let Some(backend::Kind::Balancer(balancer)) = &mut b.kind {
                balancer.discovery = None;
            }
        },
    ];
    for (n, spoil) in backends.iter().enumerate() {
        let mut backend = mk_backend();
        spoil(&mut backend);
        assert!(
            ClientPolicy::try_from(mk_policy(backend)).is_err(),
            "backend, case {n}"
        );
    }
    let details: [fn(&mut proxy_protocol::Detect); 5] = [
        |d| d.timeout = None,
        |d| d.opaque = None,
        |d| d.http1 = None,
        |d| d.http2 = None,
        |d| d.http1.as_mut().unwrap().routes[0].metadata = None,
    ];
    for (n, spoil) in details.iter().enumerate() {
        let mut policy = mk_policy(mk_backend());
        if let Some(proxy_protocol::Kind::Detect(detect)) =
            &mut policy.protocol.as_mut().unwrap().kind
        {
            spoil(detect);
        }
        assert!(ClientPolicy::try_from(policy).is_err(), "detect, case {n}");
    }
    let mut policy = mk_policy(mk_backend());
    policy.metadata = None;
    assert!(ClientPolicy::try_from(policy).is_err());
    let mut policy = mk_policy(mk_backend());
    let resource = meta::Resource {
        group: "core".into(),
        kind: "Service".into(),
        name: "web".into(),
        ..Default::default()
    };
    policy.metadata = Some(meta::Metadata {
        kind: Some(meta::metadata::Kind::Resource(resource)),
    });
    assert!(
        ClientPolicy::try_from(policy).is_err(),
        "a resource without its namespace"
    );
}

#[test]
fn a_backend_without_a_kind_is_readable_and_useless() {
    let backend = api::Backend {
        kind: None,
        ..mk_backend()
    };
    let policy = ClientPolicy::try_from(mk_policy(backend)).unwrap();
    assert_eq!(
        policy.http(Detected::Http2).unwrap()[0]
            .distribution
            .pick()
            .unwrap()
            .dispatcher,
        Dispatcher::None
    );
}
