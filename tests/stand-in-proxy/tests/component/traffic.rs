//! Two stand-ins carry traffic for one another, as two real proxies do.

use crate::control_plane::World;
use crate::host::{id, pair, server_name};
use crate::messages::{endpoint, opaque_service, server, service};
use crate::poll;
use linkerd2_proxy_api::destination::DestinationProfile;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const SERVICE: &str = "web.ns.svc.cluster.local:80";
const B: ([u8; 4], u16) = ([10, 77, 0, 2], 80);

pub(crate) fn cluster_ip() -> SocketAddr {
    ([10, 96, 0, 10], 80).into()
}

fn member_b() -> linkerd2_proxy_api::destination::WeightedAddr {
    endpoint(B.into(), &id("vm-b"), &server_name("vm-b"))
}

/// A Service with host B behind it; port 80 is for everybody, the admin ports for their hosts.
pub(crate) fn mk_world() -> World {
    let mut world = World::default();
    world.policies.insert(cluster_ip(), service(SERVICE));
    world.endpoints.insert(SERVICE.into(), vec![member_b()]);
    world.servers.insert(80, server(None));
    world.servers.insert(4191, server(Some(&[])));
    world
}

#[tokio::test]
async fn a_request_to_a_service_goes_to_the_member_over_mutual_tls() {
    let pair = pair(mk_world()).await;
    pair.b.serve_web(80);
    let forged = "L5d-Client-Id: spiffe://forged\r\nX-Own: kept\r\n";
    let (status, body) = pair
        .a
        .get(cluster_ip(), "web.ns.svc.cluster.local", forged)
        .await
        .unwrap();
    assert_eq!(status, 200, "{body}");
    assert!(
        body.starts_with("from 10.77.0.2\n"),
        "the application sees its own host: {body}"
    );
    let ids: Vec<_> = body
        .lines()
        .filter(|line| line.starts_with("l5d-client-id"))
        .collect();
    assert_eq!(ids, [format!("l5d-client-id: {}", id("vm-a"))], "{body}");
    assert!(
        body.contains("x-own: kept") && body.contains("host: web.ns.svc.cluster.local\r\n"),
        "{body}"
    );
    assert!(!body.contains("l5d-orig-proto"), "{body}");

    let (sent, received) = (pair.a.metrics().await, pair.b.metrics().await);
    let has = |metrics: &str, name: &str, label: String| {
        metrics
            .lines()
            .any(|line| line.starts_with(name) && line.contains(&label))
    };
    assert!(
        has(
            &sent,
            "request_total{direction=\"outbound\"",
            format!("tls=\"true\",server_id=\"{}\"", id("vm-b"))
        ),
        "{sent}"
    );
    assert!(
        has(
            &received,
            "request_total{direction=\"inbound\"",
            format!("tls=\"true\",client_id=\"{}\"", id("vm-a"))
        ),
        "{received}"
    );
    assert!(
        has(
            &sent,
            "control_policy_balancer_endpoints{endpoint_state=\"ready\"",
            " 1".into()
        ),
        "{sent}"
    );

    let asked = pair.control.asked();
    for question in [
        "GetProfile 10.96.0.10:80",
        "Watch 10.96.0.10:80",
        &format!("Get {SERVICE}"),
        &format!("GetProfile {SERVICE}"),
    ] {
        assert!(
            asked.iter().any(|asked| asked == question),
            "{question} is not in {asked:?}"
        );
    }
    let ports = |port: u16| {
        asked
            .iter()
            .filter(|asked| asked.starts_with(&format!("WatchPort {port} ")))
            .count()
    };
    assert_eq!((ports(80), ports(4191)), (2, 2), "{asked:?}");
}

#[tokio::test]
async fn a_member_that_is_dialled_by_its_address_is_found_by_its_profile() {
    let mut world = mk_world();
    let profile = DestinationProfile {
        endpoint: Some(member_b()),
        ..Default::default()
    };
    world.profiles.insert("10.77.0.2:80".into(), profile);
    let pair = pair(world).await;
    pair.b.serve_web(80);
    let (status, body) = pair.a.get(pair.b.addr(80), "10.77.0.2", "").await.unwrap();
    assert_eq!(status, 200, "{body}");
    assert!(
        body.contains(&format!("l5d-client-id: {}", id("vm-a"))),
        "{body}"
    );
}

#[tokio::test]
async fn an_address_that_nobody_knows_is_reached_in_plaintext_and_without_identity() {
    let pair = pair(mk_world()).await;
    pair.b.serve_web(80);
    let (status, body) = pair
        .a
        .get(pair.b.addr(80), "10.77.0.2", "l5d-client-id: forged\r\n")
        .await
        .unwrap();
    assert_eq!(status, 200, "{body}");
    assert!(!body.contains("l5d-client-id"), "{body}");
}

#[tokio::test]
async fn a_connection_hangs_until_the_policy_controller_answers() {
    let mut world = mk_world();
    world.silent = true;
    let pair = pair(world).await;
    pair.b.serve_web(80);
    let mut stream = pair.a.net.connect(cluster_ip()).unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    poll::until("the policy is asked for", || async {
        let asked = pair.control.asked();
        if asked.contains(&"Watch 10.96.0.10:80".to_owned()) {
            Ok(())
        } else {
            Err(asked)
        }
    })
    .await;
    let mut byte = [0];
    let early = tokio::time::timeout(Duration::from_millis(300), stream.read(&mut byte)).await;
    assert!(early.is_err(), "something was answered: {early:?}");
    pair.control.change(|world| world.silent = false);
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
}

#[tokio::test]
async fn a_peer_with_the_wrong_identity_gets_nothing_not_even_plaintext() {
    let mut world = mk_world();
    world.endpoints.insert(
        SERVICE.into(),
        vec![endpoint(B.into(), &id("vm-c"), &server_name("vm-b"))],
    );
    let pair = pair(world).await;
    pair.b.serve_web(80);
    let (status, _) = pair.a.get(cluster_ip(), "web", "").await.unwrap();
    assert_eq!(status, 504, "no endpoint in time");
    let (status, _) = pair.a.get(cluster_ip(), "web", "").await.unwrap();
    assert_eq!(status, 503, "and at once while it lasts");
    assert!(
        pair.a
            .proxy
            .stdout()
            .contains("certificate does not match TLS identity")
    );
    pair.control.change(|world| {
        world.endpoints.insert(SERVICE.into(), vec![member_b()]);
    });
    poll::until("the right identity serves", || async {
        match pair.a.get(cluster_ip(), "web", "").await {
            Ok((200, _)) => Ok(()),
            other => Err(other),
        }
    })
    .await;
}

#[tokio::test]
async fn inbound_policy_names_identities_and_its_changes_reach_open_connections() {
    let mut world = mk_world();
    world.servers.insert(80, server(Some(&[&id("vm-a")])));
    let pair = pair(world).await;
    pair.b.serve_web(80);
    assert_eq!(pair.a.get(cluster_ip(), "web", "").await.unwrap().0, 200);
    // The same host without the mesh: its address is not known, so it comes in plaintext.
    let mut plain = pair.a.net.connect(pair.b.addr(80)).unwrap();
    assert_eq!(status(&mut plain).await, 403);
    pair.control.change(|world| {
        world.servers.insert(80, server(None));
    });
    poll::until("the change arrives", || async {
        let (code, body) = pair.a.get(pair.b.addr(80), "10.77.0.2", "").await.unwrap();
        if code == 200 {
            Ok(())
        } else {
            Err((code, body))
        }
    })
    .await;
    assert_eq!(status(&mut plain).await, 200, "the open connection follows");
}

/// One request on a connection that stays open.
pub(crate) async fn status(stream: &mut tokio::net::TcpStream) -> u16 {
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    loop {
        assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0, "closed");
        let text = String::from_utf8_lossy(&answer).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head.lines().find_map(|line| {
            line.to_ascii_lowercase()
                .strip_prefix("content-length: ")?
                .parse()
                .ok()
        });
        if body.len() >= length.unwrap_or(0) {
            return text.split(' ').nth(1).unwrap().parse().unwrap();
        }
    }
}

#[tokio::test]
async fn an_opaque_port_carries_a_server_that_speaks_first() {
    let mut world = mk_world();
    let smtp = SocketAddr::from(([10, 96, 0, 10], 25));
    world
        .policies
        .insert(smtp, opaque_service("web.ns.svc.cluster.local:25"));
    let to = SocketAddr::from((B.0, 25));
    world.endpoints.insert(
        "web.ns.svc.cluster.local:25".into(),
        vec![endpoint(to, &id("vm-b"), &server_name("vm-b"))],
    );
    // Not in INBOUND_PORTS: the first connection may come before the policy, so the second one counts.
    world.servers.insert(25, server(Some(&[&id("vm-a")])));
    let pair = pair(world).await;
    let listener = pair.b.net.listen(pair.b.addr(25));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            drop(stream.write_all(b"220 hello\r\n").await);
            let mut line = [0; 4];
            drop(stream.read_exact(&mut line).await);
            drop(stream.write_all(&line).await);
        }
    });
    poll::until("the banner", || async {
        let mut stream = pair.a.net.connect(smtp).unwrap();
        let mut banner = [0; 11];
        stream
            .read_exact(&mut banner)
            .await
            .map_err(|error| error.to_string())?;
        assert_eq!(&banner, b"220 hello\r\n");
        stream.write_all(b"QUIT").await.unwrap();
        let mut echo = String::new();
        stream.read_to_string(&mut echo).await.unwrap();
        assert_eq!(echo, "QUIT");
        Ok::<_, String>(())
    })
    .await;
    let metrics = pair.b.metrics().await;
    let allowed = |line: &str| {
        line.starts_with("inbound_tcp_authz_allow_total") && line.contains(&id("vm-a"))
    };
    assert!(metrics.lines().any(allowed), "{metrics}");
}

#[tokio::test]
async fn a_rotated_certificate_is_used_by_new_connections() {
    let pair = pair(mk_world()).await;
    pair.b.serve_web(80);
    assert_eq!(pair.a.get(cluster_ip(), "web", "").await.unwrap().0, 200);
    for host in [&pair.a, &pair.b] {
        let name = if std::ptr::eq(host, &raw const pair.a) {
            "vm-a"
        } else {
            "vm-b"
        };
        drop(
            host.svid
                .send_replace(Ok((id(name), pair.root.svid(&id(name))))),
        );
        poll::until("the new certificate is loaded", || async {
            let metrics = host.metrics().await;
            if metrics.contains("refreshes_total{result=\"ok\"} 2\n") {
                Ok(())
            } else {
                Err(metrics)
            }
        })
        .await;
    }
    assert_eq!(pair.a.get(cluster_ip(), "web", "").await.unwrap().0, 200);
}

#[tokio::test]
async fn a_policy_that_cannot_be_read_turns_every_request_into_a_500() {
    let mut world = mk_world();
    let mut policy = service(SERVICE);
    policy.metadata = None;
    world.policies.insert(cluster_ip(), policy);
    let pair = pair(world).await;
    pair.b.serve_web(80);
    assert_eq!(pair.a.get(cluster_ip(), "web", "").await.unwrap().0, 500);
    assert!(
        pair.a
            .proxy
            .stdout()
            .contains("Client policy misconfigured")
    );
    pair.control.change(|world| {
        world.policies.insert(cluster_ip(), service(SERVICE));
    });
    poll::until("the readable policy serves", || async {
        match pair.a.get(cluster_ip(), "web", "").await {
            Ok((200, _)) => Ok(()),
            other => Err(other),
        }
    })
    .await;
}

#[tokio::test]
async fn the_direct_port_takes_no_plaintext() {
    let pair = pair(mk_world()).await;
    // To 4143 itself, and so by the profile of nobody: host A's proxy passes it on as it comes.
    let mut stream = pair.a.net.connect(pair.b.addr(4143)).unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 500"),
        "host A's proxy saw the connection close: {answer}"
    );
    poll::until("host B says why", || async {
        let log = pair.b.proxy.stdout();
        if log.contains("must be mutually authenticated") {
            Ok(())
        } else {
            Err(log)
        }
    })
    .await;
}
