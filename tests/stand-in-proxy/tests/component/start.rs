//! Starting: what is refused, with which exit code and which words.

use crate::pki::Root;
use crate::proxy::{self, Env, Proxy, get};
use crate::{poll, workload_api};

const ID: &str = "spiffe://root.linkerd.cluster.local/vm";

fn mk_env(dir: &tempfile::TempDir) -> Env {
    proxy::mk_env(&dir.path().join("agent.sock"), &Root::new().pem(), ID)
}

#[tokio::test]
async fn a_wrong_environment_exits_64_and_tells_every_problem() {
    let dir = tempfile::tempdir().unwrap();
    let mut env = mk_env(&dir);
    env.insert("SHUTDOWN_GRACE_PERIOD", "30".into());
    env.remove("IDENTITY_TRUST_ANCHORS");
    let mut proxy = Proxy::spawn(&[], &env, dir.path(), "proxy");
    assert_eq!(proxy.exit().await.code(), Some(64));
    assert_eq!(
        proxy.stderr(),
        "Invalid configuration: invalid environment variable\n"
    );
    let log = proxy.stdout();
    for word in [
        "SHUTDOWN_GRACE_PERIOD=\"30\" is not valid",
        "TRUST_ANCHORS must be set",
    ] {
        let is_error = |line: &str| line.contains(" ERROR ") && line.contains(word);
        assert!(
            log.lines().any(is_error),
            "no ERROR line with {word:?} in:\n{log}"
        );
    }
}

#[tokio::test]
async fn a_local_name_beside_spire_exits_64() {
    let dir = tempfile::tempdir().unwrap();
    let mut env = mk_env(&dir);
    env.insert("IDENTITY_LOCAL_NAME", "vm.local".into());
    let mut proxy = Proxy::spawn(&[], &env, dir.path(), "proxy");
    assert_eq!(proxy.exit().await.code(), Some(64));
    let log = proxy.stdout();
    assert!(
        log.contains("Spire support requires a SPIFFE TLS Id"),
        "{log}"
    );
}

/// The one thing that it must not share with the real one.
#[tokio::test]
async fn the_first_line_says_that_it_is_a_stand_in() {
    let dir = tempfile::tempdir().unwrap();
    let mut proxy = Proxy::stand_in(&Env::new(), dir.path());
    assert_eq!(proxy.exit().await.code(), Some(64));
    let log = proxy.stdout();
    let says = |line: &str| line.contains("linkerd2_proxy: release stand-in (NOT linkerd2-proxy)");
    assert!(log.lines().next().is_some_and(says), "{log}");
}

#[tokio::test]
async fn anchors_without_a_certificate_exit_1() {
    let dir = tempfile::tempdir().unwrap();
    let mut env = mk_env(&dir);
    env.insert("IDENTITY_TRUST_ANCHORS", "nothing of use".into());
    let mut proxy = Proxy::spawn(&[], &env, dir.path(), "proxy");
    assert_eq!(proxy.exit().await.code(), Some(1));
    assert!(
        proxy.stderr().starts_with("Initialization failure: "),
        "{}",
        proxy.stderr()
    );
}

#[tokio::test]
async fn a_taken_proxy_port_exits_101_and_a_taken_admin_port_1() {
    for (name, code) in [
        ("INBOUND_LISTEN_ADDR", 101),
        ("OUTBOUND_LISTEN_ADDRS", 101),
        ("ADMIN_LISTEN_ADDR", 1),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let env = mk_env(&dir);
        let _taken = std::net::TcpListener::bind(&env[name]).unwrap();
        let mut proxy = Proxy::spawn(&[], &env, dir.path(), "proxy");
        assert_eq!(proxy.exit().await.code(), Some(code), "{name}");
    }
}

#[tokio::test]
async fn a_certified_proxy_is_ready_and_says_who_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let root = Root::new();
    let socket = dir.path().join("agent.sock");
    let _api = workload_api::serve(&socket, Ok((ID.into(), root.svid(ID))));
    let env = proxy::mk_env(&socket, &root.pem(), ID);
    let mut proxy = Proxy::spawn(&[], &env, dir.path(), "proxy");
    let admin = env["ADMIN_LISTEN_ADDR"].clone();
    poll::until("ready", || async {
        expect(get(&admin, "/ready").await, 200, "ready\n")
    })
    .await;
    expect(get(&admin, "/live").await, 200, "live\n").unwrap();
    let (_, metrics) = get(&admin, "/metrics").await.unwrap();
    assert!(
        metrics.contains("control_identity_cert_refreshes_total{result=\"ok\"} 1\n"),
        "{metrics}"
    );
    assert!(
        metrics.contains("control_policy_balancer_endpoints{endpoint_state=\"ready\""),
        "{metrics}"
    );
    tokio::net::TcpStream::connect(&env["INBOUND_LISTEN_ADDR"])
        .await
        .unwrap();
    let log = proxy.stdout();
    for line in [
        "Admin interface on ",
        "Inbound interface on ",
        "Outbound interface on ",
        "SNI is vm.ns",
        "Local identity is spiffe://",
    ] {
        assert!(
            log.contains(&format!("linkerd2_proxy: {line}")),
            "{line} is not in\n{log}"
        );
    }
    assert!(
        log.contains(&format!("Certified identity id={ID}")),
        "{log}"
    );
    proxy.terminate();
    assert_eq!(proxy.exit().await.code(), Some(0));
}

#[tokio::test]
async fn the_shutdown_endpoint_is_there_only_when_enabled() {
    for (enabled, answer) in [("false", "404"), ("true", "200")] {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new();
        let socket = dir.path().join("agent.sock");
        let _api = workload_api::serve(&socket, Ok((ID.into(), root.svid(ID))));
        let mut env = proxy::mk_env(&socket, &root.pem(), ID);
        env.insert("SHUTDOWN_ENDPOINT_ENABLED", enabled.into());
        let mut proxy = Proxy::spawn(&[], &env, dir.path(), "proxy");
        let admin = env["ADMIN_LISTEN_ADDR"].clone();
        poll::until("ready", || async {
            expect(get(&admin, "/ready").await, 200, "ready\n")
        })
        .await;
        let stream = tokio::net::TcpStream::connect(&admin).await.unwrap();
        let head = post(stream, "/shutdown").await;
        assert!(head.starts_with(&format!("HTTP/1.1 {answer}")), "{head}");
        if enabled == "true" {
            assert_eq!(proxy.exit().await.code(), Some(0));
        } else {
            assert!(proxy.is_running());
        }
    }
}

async fn post(mut stream: tokio::net::TcpStream, path: &str) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

pub(crate) fn expect(
    got: std::io::Result<(u16, String)>,
    status: u16,
    body: &str,
) -> Result<(), String> {
    match got {
        Ok(got) if got == (status, body.to_owned()) => Ok(()),
        other => Err(format!("{other:?}")),
    }
}
