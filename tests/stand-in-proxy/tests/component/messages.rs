//! The control plane's answers, complete as the real proxy wants them.

use linkerd2_proxy_api::destination::{self as dst, protocol_hint, tls_identity};
use linkerd2_proxy_api::inbound::{self as inbound, authn};
use linkerd2_proxy_api::meta::{Metadata, metadata};
use linkerd2_proxy_api::outbound::{
    self as outbound, backend, http_route, opaque_route, proxy_protocol,
};
use std::net::SocketAddr;

fn named(name: &str) -> Metadata {
    Metadata {
        kind: Some(metadata::Kind::Default(name.into())),
    }
}

fn seconds(seconds: i64) -> prost_types::Duration {
    prost_types::Duration { seconds, nanos: 0 }
}

/// A member of the mesh.
pub(crate) fn endpoint(addr: SocketAddr, id: &str, server_name: &str) -> dst::WeightedAddr {
    dst::WeightedAddr {
        addr: Some(addr.into()),
        weight: 10_000,
        tls_identity: Some(dst::TlsIdentity {
            strategy: Some(tls_identity::Strategy::UriLikeIdentity(
                tls_identity::UriLikeIdentity { uri: id.into() },
            )),
            server_name: Some(tls_identity::DnsLikeIdentity {
                name: server_name.into(),
            }),
        }),
        protocol_hint: Some(dst::ProtocolHint {
            protocol: Some(protocol_hint::Protocol::H2(protocol_hint::H2 {})),
            opaque_transport: Some(protocol_hint::OpaqueTransport { inbound_port: 4143 }),
        }),
        ..Default::default()
    }
}

fn backend(path: &str) -> outbound::Backend {
    let kind =
        backend::endpoint_discovery::Kind::Dst(backend::endpoint_discovery::DestinationGet {
            path: path.into(),
        });
    outbound::Backend {
        metadata: Some(named("backend")),
        queue: Some(outbound::Queue {
            capacity: 100,
            failfast_timeout: Some(seconds(1)),
        }),
        kind: Some(backend::Kind::Balancer(backend::BalanceP2c {
            discovery: Some(backend::EndpointDiscovery { kind: Some(kind) }),
            load: Some(backend::balance_p2c::Load::PeakEwma(
                backend::balance_p2c::PeakEwma {
                    default_rtt: Some(seconds(1)),
                    decay: Some(seconds(10)),
                },
            )),
        })),
    }
}

fn opaque_routes(path: &str) -> Vec<outbound::OpaqueRoute> {
    let route = opaque_route::RouteBackend {
        backend: Some(backend(path)),
        ..Default::default()
    };
    let first = opaque_route::distribution::FirstAvailable {
        backends: vec![route],
    };
    let kind = Some(opaque_route::distribution::Kind::FirstAvailable(first));
    let rule = opaque_route::Rule {
        backends: Some(opaque_route::Distribution { kind }),
        ..Default::default()
    };
    vec![outbound::OpaqueRoute {
        metadata: Some(named("opaque")),
        rules: vec![rule],
    }]
}

fn http_routes(path: &str) -> Vec<outbound::HttpRoute> {
    let route = http_route::RouteBackend {
        backend: Some(backend(path)),
        ..Default::default()
    };
    let first = http_route::distribution::FirstAvailable {
        backends: vec![route],
    };
    let kind = Some(http_route::distribution::Kind::FirstAvailable(first));
    let rule = http_route::Rule {
        backends: Some(http_route::Distribution { kind }),
        ..Default::default()
    };
    vec![outbound::HttpRoute {
        metadata: Some(named("http")),
        rules: vec![rule],
        ..Default::default()
    }]
}

/// A Service: everything goes to a balancer.
pub(crate) fn service(path: &str) -> outbound::OutboundPolicy {
    policy(proxy_protocol::Kind::Detect(proxy_protocol::Detect {
        timeout: Some(seconds(10)),
        opaque: Some(proxy_protocol::Opaque {
            routes: opaque_routes(path),
        }),
        http1: Some(proxy_protocol::Http1 {
            routes: http_routes(path),
            failure_accrual: None,
        }),
        http2: Some(proxy_protocol::Http2 {
            routes: http_routes(path),
            failure_accrual: None,
        }),
    }))
}

/// A Service on the list of opaque ports.
pub(crate) fn opaque_service(path: &str) -> outbound::OutboundPolicy {
    policy(proxy_protocol::Kind::Opaque(proxy_protocol::Opaque {
        routes: opaque_routes(path),
    }))
}

fn policy(kind: proxy_protocol::Kind) -> outbound::OutboundPolicy {
    outbound::OutboundPolicy {
        metadata: Some(named("policy")),
        protocol: Some(outbound::ProxyProtocol { kind: Some(kind) }),
    }
}

/// A port that anybody may use, or only these identities.
pub(crate) fn server(only: Option<&[&str]>) -> inbound::Server {
    use authn::permit_mesh_tls::{Clients, PermitClientIdentities};
    let permit = match only {
        None => authn::Permit::Unauthenticated(authn::PermitUnauthenticated {}),
        Some(ids) => authn::Permit::MeshTls(authn::PermitMeshTls {
            clients: Some(Clients::Identities(PermitClientIdentities {
                identities: ids
                    .iter()
                    .map(|id| inbound::Identity { name: (*id).into() })
                    .collect(),
                suffixes: Vec::new(),
            })),
        }),
    };
    let detect = inbound::proxy_protocol::Detect {
        timeout: Some(seconds(10)),
        ..Default::default()
    };
    inbound_server(inbound::proxy_protocol::Kind::Detect(detect), permit)
}

/// What a `Server` of protocol gRPC becomes, whose `AuthorizationPolicy` names a network and nothing else.
pub(crate) fn grpc_server() -> inbound::Server {
    let permit = authn::Permit::Unauthenticated(authn::PermitUnauthenticated {});
    inbound_server(grpc(), permit)
}

/// The same with a `MeshTLSAuthentication` whose identities are `*`.
pub(crate) fn grpc_server_for_the_mesh() -> inbound::Server {
    use authn::permit_mesh_tls::{Clients, PermitClientIdentities};
    let every = inbound::IdentitySuffix { parts: Vec::new() };
    let clients = PermitClientIdentities {
        identities: Vec::new(),
        suffixes: vec![every],
    };
    let permit = authn::PermitMeshTls {
        clients: Some(Clients::Identities(clients)),
    };
    inbound_server(grpc(), authn::Permit::MeshTls(permit))
}

fn grpc() -> inbound::proxy_protocol::Kind {
    inbound::proxy_protocol::Kind::Grpc(inbound::proxy_protocol::Grpc::default())
}

fn inbound_server(kind: inbound::proxy_protocol::Kind, permit: authn::Permit) -> inbound::Server {
    let all = "0.0.0.0/0".parse::<ipnet::IpNet>().unwrap();
    inbound::Server {
        protocol: Some(inbound::ProxyProtocol { kind: Some(kind) }),
        labels: [
            ("name", "web"),
            ("group", "policy.linkerd.io"),
            ("kind", "server"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into(),
        authorizations: vec![inbound::Authz {
            networks: vec![inbound::Network {
                net: Some(all.into()),
                except: Vec::new(),
            }],
            authentication: Some(inbound::Authn {
                permit: Some(permit),
            }),
            metadata: Some(named("all")),
            ..Default::default()
        }],
        ..Default::default()
    }
}
