//! The traps of the real proxy, which the harness has to see through.

use crate::pki::Root;
use crate::proxy::{Env, Proxy, get, mk_env};
use crate::start::expect;
use crate::{poll, workload_api};
use tonic::Status;

const ID: &str = "spiffe://root.linkerd.cluster.local/vm";

async fn expect_wedged(proxy: &mut Proxy, env: &Env) {
    let admin = env["ADMIN_LISTEN_ADDR"].clone();
    poll::until("says that it is ready", || async {
        expect(get(&admin, "/ready").await, 200, "ready\n")
    })
    .await;
    let stderr = proxy.stderr();
    assert!(stderr.contains("panicked at"), "{stderr}");
    for name in ["INBOUND_LISTEN_ADDR", "OUTBOUND_LISTEN_ADDRS"] {
        let addr = &env[name];
        poll::until("the port is closed", || async {
            match tokio::net::TcpStream::connect(addr).await {
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    }
    expect(get(&admin, "/live").await, 200, "live\n").unwrap();
    let (_, metrics) = get(&admin, "/metrics").await.unwrap();
    assert!(
        metrics.contains("control_identity_cert_refreshes_total{result=\"ok\"} 0\n"),
        "{metrics}"
    );
    assert!(
        metrics.contains("control_identity_cert_expiration_timestamp_seconds 0.0\n"),
        "{metrics}"
    );
    assert!(proxy.is_running());
}

#[tokio::test]
async fn a_missing_socket_wedges_it_for_ever_and_it_says_that_it_is_ready() {
    let dir = tempfile::tempdir().unwrap();
    let root = Root::new();
    let socket = dir.path().join("agent.sock");
    let env = mk_env(&socket, &root.pem(), ID);
    let mut proxy = Proxy::spawn(&[], &env, dir.path(), "proxy");
    expect_wedged(&mut proxy, &env).await;
    // The agent comes, and nobody asks it.
    let _api = workload_api::serve(&socket, Ok((ID.into(), root.svid(ID))));
    expect_wedged(&mut proxy, &env).await;
    assert!(!proxy.stdout().contains("Certified"), "{}", proxy.stdout());
}

#[tokio::test]
async fn an_invalid_argument_wedges_it_as_well() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("agent.sock");
    let _api = workload_api::serve(&socket, Err(Status::invalid_argument("no")));
    let env = mk_env(&socket, &Root::new().pem(), ID);
    let mut proxy = Proxy::spawn(&[], &env, dir.path(), "proxy");
    expect_wedged(&mut proxy, &env).await;
}

#[tokio::test]
async fn a_denied_proxy_waits_and_is_certified_when_the_entry_comes() {
    let dir = tempfile::tempdir().unwrap();
    let root = Root::new();
    let socket = dir.path().join("agent.sock");
    let api = workload_api::serve(
        &socket,
        Err(Status::permission_denied("no identity issued")),
    );
    let env = mk_env(&socket, &root.pem(), ID);
    let proxy = Proxy::spawn(&[], &env, dir.path(), "proxy");
    let admin = env["ADMIN_LISTEN_ADDR"].clone();
    poll::until("waits", || async {
        expect(get(&admin, "/ready").await, 503, "not ready\n")
    })
    .await;
    poll::until("tries again", || async {
        let log = proxy.stdout();
        if log.contains("retrying with a backoff") {
            Ok(())
        } else {
            Err(log)
        }
    })
    .await;
    drop(api.send_replace(Ok((ID.into(), root.svid(ID)))));
    poll::until("ready", || async {
        expect(get(&admin, "/ready").await, 200, "ready\n")
    })
    .await;
}

#[tokio::test]
async fn svids_of_another_id_or_another_root_do_not_make_it_ready() {
    let root = Root::new();
    let other = "spiffe://root.linkerd.cluster.local/other";
    for (named, leaf) in [
        (other, root.svid(other)),
        (ID, root.svid(other)),
        (ID, Root::new().svid(ID)),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("agent.sock");
        let api = workload_api::serve(&socket, Ok((named.into(), leaf)));
        let env = mk_env(&socket, &root.pem(), ID);
        let proxy = Proxy::spawn(&[], &env, dir.path(), "proxy");
        let admin = env["ADMIN_LISTEN_ADDR"].clone();
        poll::until("the SVID is refused", || async {
            let log = proxy.stdout();
            if log.contains("Error processing SVID update") {
                Ok(())
            } else {
                Err(log)
            }
        })
        .await;
        expect(get(&admin, "/ready").await, 503, "not ready\n").unwrap();
        drop(api.send_replace(Ok((ID.into(), root.svid(ID)))));
        poll::until("ready", || async {
            expect(get(&admin, "/ready").await, 200, "ready\n")
        })
        .await;
    }
}

#[tokio::test]
async fn before_the_certificate_a_shutdown_takes_the_whole_grace_period() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("agent.sock");
    let _api = workload_api::serve(
        &socket,
        Err(Status::permission_denied("no identity issued")),
    );
    let env = mk_env(&socket, &Root::new().pem(), ID);
    let mut proxy = Proxy::spawn(&[], &env, dir.path(), "proxy");
    let admin = env["ADMIN_LISTEN_ADDR"].clone();
    poll::until("waits", || async {
        expect(get(&admin, "/ready").await, 503, "not ready\n")
    })
    .await;
    proxy.terminate();
    assert_eq!(proxy.exit().await.code(), Some(0));
    assert!(
        proxy
            .stdout()
            .contains("Graceful shutdown did not complete in 1s"),
        "{}",
        proxy.stdout()
    );
}
