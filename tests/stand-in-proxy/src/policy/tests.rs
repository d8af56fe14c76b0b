//! Section by section what the real proxy does with a policy.

use super::*;
use linkerd2_proxy_api::inbound as api;

const TIMEOUT: Duration = Duration::from_secs(10);

fn spiffe(path: &str) -> ServerTls {
    ServerTls::Established(Some(Id::Uri(format!("spiffe://td/{path}"))))
}

fn dns(name: &str) -> ServerTls {
    ServerTls::Established(Some(Id::Dns(name.into())))
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn http(policy: &ServerPolicy, client: &str, tls: &ServerTls) -> Result<(), Refusal> {
    let request = ::http::Request::new(());
    policy
        .permit_http(ip(client), tls, &Target::of(&request))
        .map(|_| ())
}

fn mk_server(permit: api::authn::Permit) -> api::Server {
    api::Server {
        protocol: Some(api::ProxyProtocol {
            kind: Some(api::proxy_protocol::Kind::Detect(
                api::proxy_protocol::Detect {
                    timeout: Some(prost_types::Duration {
                        seconds: 10,
                        nanos: 0,
                    }),
                    ..Default::default()
                },
            )),
        }),
        labels: [("name".to_owned(), "web".to_owned())].into(),
        authorizations: vec![api::Authz {
            networks: vec![api::Network {
                net: Some(IpNet::from(ipnet::Ipv4Net::default()).into()),
                except: vec![],
            }],
            authentication: Some(api::Authn {
                permit: Some(permit),
            }),
            labels: [("name".to_owned(), "web-authz".to_owned())].into(),
            metadata: None,
        }],
        ..Default::default()
    }
}

fn identities(exact: &[&str], suffixes: &[&str]) -> api::authn::Permit {
    use api::authn::permit_mesh_tls::{Clients, PermitClientIdentities};
    let parts = |suffix: &str| {
        suffix
            .split('.')
            .filter(|part| !part.is_empty())
            .map(str::to_owned)
            .collect()
    };
    api::authn::Permit::MeshTls(api::authn::PermitMeshTls {
        clients: Some(Clients::Identities(PermitClientIdentities {
            identities: exact
                .iter()
                .map(|name| api::Identity {
                    name: (*name).to_owned(),
                })
                .collect(),
            suffixes: suffixes
                .iter()
                .map(|suffix| api::IdentitySuffix {
                    parts: parts(suffix),
                })
                .collect(),
        })),
    })
}

#[test]
fn a_spiffe_id_matches_exactly_or_not_at_all() {
    let policy =
        ServerPolicy::try_from(mk_server(identities(&["spiffe://td/vm-a"], &["", "td"]))).unwrap();
    assert_eq!(http(&policy, "10.0.0.1", &spiffe("vm-a")), Ok(()));
    assert!(matches!(
        http(&policy, "10.0.0.1", &spiffe("vm-b")),
        Err(Refusal::Unauthorized(_))
    ));
    assert_eq!(
        http(&policy, "10.0.0.1", &dns("web.ns.local")),
        Ok(()),
        "the empty suffix is for DNS names"
    );
    assert!(http(&policy, "10.0.0.1", &ServerTls::Established(None)).is_err());
    assert!(http(&policy, "10.0.0.1", &ServerTls::NoClientHello).is_err());
}

#[test]
fn suffixes_end_at_a_label() {
    let policy = ServerPolicy::try_from(mk_server(identities(&[], &["id.local"]))).unwrap();
    assert_eq!(http(&policy, "10.0.0.1", &dns("a.id.local")), Ok(()));
    assert!(http(&policy, "10.0.0.1", &dns("another-id.local")).is_err());
}

#[test]
fn any_tls_needs_tls_but_no_certificate() {
    let any = api::authn::Permit::MeshTls(api::authn::PermitMeshTls {
        clients: Some(api::authn::permit_mesh_tls::Clients::Unauthenticated(
            api::authn::PermitUnauthenticated {},
        )),
    });
    let policy = ServerPolicy::try_from(mk_server(any)).unwrap();
    assert_eq!(
        http(&policy, "10.0.0.1", &ServerTls::Established(None)),
        Ok(())
    );
    assert!(http(&policy, "10.0.0.1", &ServerTls::Passthru("x".into())).is_err());
}

#[test]
fn the_host_itself_is_always_let_in_by_the_controller_but_not_by_the_default() {
    let policy = ServerPolicy::try_from(mk_server(identities(&["spiffe://td/vm-a"], &[]))).unwrap();
    assert_eq!(
        http(&policy, "127.0.0.1", &ServerTls::NoClientHello),
        Ok(())
    );
    assert_eq!(
        http(&policy, "::ffff:127.0.0.1", &ServerTls::NoClientHello),
        Ok(())
    );
    let cluster = defaults::named(
        "cluster-unauthenticated",
        &["10.0.0.0/8".parse().unwrap()],
        TIMEOUT,
    )
    .unwrap();
    assert!(http(&cluster, "127.0.0.1", &ServerTls::NoClientHello).is_err());
    assert_eq!(
        http(&cluster, "10.1.2.3", &ServerTls::NoClientHello),
        Ok(())
    );
}

#[test]
fn deny_closes_streams_and_finds_no_route() {
    let deny = defaults::named("deny", &[], TIMEOUT).unwrap();
    assert!(deny.permit_tcp(ip("10.0.0.1"), &spiffe("vm-a")).is_none());
    assert_eq!(
        http(&deny, "127.0.0.1", &ServerTls::NoClientHello),
        Err(Refusal::NoRoute)
    );
}

#[test]
fn spiffe_clients_never_pass_the_authenticated_defaults() {
    let policy = defaults::named("all-authenticated", &[], TIMEOUT).unwrap();
    assert!(http(&policy, "10.0.0.1", &spiffe("vm-a")).is_err());
    assert_eq!(http(&policy, "10.0.0.1", &dns("web.ns.local")), Ok(()));
}

#[test]
fn answers_that_the_real_proxy_cannot_read_are_refused() {
    let good = || mk_server(identities(&["spiffe://td/vm-a"], &[]));
    assert!(ServerPolicy::try_from(good()).is_ok());
    let broken: [fn(&mut api::Server); 6] = [
        |s| s.protocol = None,
        |s| s.labels.clear(),
        |s| s.authorizations[0].networks.clear(),
        |s| s.authorizations[0].authentication = None,
        |s| s.authorizations[0].labels.clear(),
        |s| {
            s.protocol = Some(api::ProxyProtocol {
                kind: Some(api::proxy_protocol::Kind::Detect(
                    api::proxy_protocol::Detect::default(),
                )),
            });
        },
    ];
    for (n, spoil) in broken.iter().enumerate() {
        let mut server = good();
        spoil(&mut server);
        assert!(ServerPolicy::try_from(server).is_err(), "case {n}");
    }
    let invalid = ServerPolicy::invalid(TIMEOUT);
    assert!(matches!(
        http(&invalid, "127.0.0.1", &ServerTls::NoClientHello),
        Err(Refusal::Unauthorized(_))
    ));
}
