use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic_health::ServingStatus as Serves;

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_secs(20);

async fn mk_listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// A server with the health service, which knows the services given.
async fn mk_server(services: &[(&str, Serves)]) -> u16 {
    let (listener, port) = mk_listener().await;
    let (reporter, service) = tonic_health::server::health_reporter();
    for (name, state) in services {
        reporter.set_service_status(*name, *state).await;
    }
    let server = Server::builder().add_service(service);
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    port
}

#[tokio::test]
async fn serving_passes_and_every_other_state_fails() {
    let port = mk_server(&[
        ("", Serves::Serving),
        ("shop.Cart", Serves::NotServing),
        ("shop.Pay", Serves::Unknown),
    ])
    .await;
    assert_eq!(check(port, "", LONG).await, Ok("SERVING".to_owned()));
    let cart = check(port, "shop.Cart", LONG).await;
    assert_eq!(cart, Err("NOT_SERVING".to_owned()));
    let pay = check(port, "shop.Pay", LONG).await;
    assert_eq!(pay, Err("UNKNOWN".to_owned()));
    let none = check(port, "shop.None", LONG).await.unwrap_err();
    assert_eq!(none, "the server does not know this service (NOT_FOUND)");
}

#[tokio::test]
async fn a_server_without_the_health_service_is_told_apart() {
    let (listener, port) = mk_listener().await;
    let server = Server::builder().add_routes(tonic::service::Routes::default());
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    let got = check(port, "", LONG).await.unwrap_err();
    assert!(got.contains("no grpc.health.v1.Health"), "{got}");
}

#[tokio::test]
async fn what_is_not_grpc_at_all_fails_in_words() {
    for greeting in [
        "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        "SSH-2.0-OpenSSH_9.2\r\n",
        "",
    ] {
        let (listener, port) = mk_listener().await;
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                stream.write_all(greeting.as_bytes()).await.unwrap();
                let mut preface = [0; 1024];
                drop(stream.read(&mut preface).await);
            }
        });
        let got = check(port, "", LONG).await.unwrap_err();
        assert!(got.starts_with("no "), "`{greeting}`: {got}");
        assert!(!got.contains("no answer in 20 s"), "`{greeting}`: {got}");
    }
}

#[tokio::test]
async fn nobody_listening_and_silence_are_told() {
    let (listener, port) = mk_listener().await;
    let silent = check(port, "", SECOND).await;
    assert_eq!(silent, Err("no answer in 1 s".to_owned()));
    drop(listener);
    let refused = check(port, "", LONG).await.unwrap_err();
    assert!(refused.contains("Connection refused"), "{refused}");
}
