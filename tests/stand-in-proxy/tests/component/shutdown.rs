//! Stopping while there is traffic.

use crate::host::pair;
use crate::poll;
use crate::traffic::{cluster_ip, mk_world, status};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

#[tokio::test]
async fn a_shutdown_lets_the_request_under_way_finish() {
    let mut pair = pair(mk_world()).await;
    let listener = pair.b.net.listen(pair.b.addr(80));
    let mut stream = pair.a.net.connect(cluster_ip()).unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let arrives = tokio::time::timeout(Duration::from_secs(20), listener.accept());
    let (mut app, _) = arrives.await.expect("the request arrives").unwrap();
    let mut head = [0; 16];
    app.read_exact(&mut head).await.unwrap();
    pair.b.proxy.terminate();
    poll::until("the shutdown has begun", || async {
        let log = pair.b.proxy.stdout();
        if log.contains("Received shutdown signal") {
            Ok(())
        } else {
            Err(log)
        }
    })
    .await;
    assert!(pair.b.proxy.is_running());
    app.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate")
        .await
        .unwrap();
    drop(app);
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with("late"),
        "{answer}"
    );
    assert_eq!(pair.b.proxy.exit().await.code(), Some(0));
}

#[tokio::test]
async fn an_idle_connection_does_not_hold_up_a_shutdown() {
    let mut pair = pair(mk_world()).await;
    pair.b.serve_web(80);
    let mut stream = pair.a.net.connect(cluster_ip()).unwrap();
    assert_eq!(status(&mut stream).await, 200);
    pair.a.proxy.terminate();
    assert_eq!(
        stream.read(&mut [0]).await.unwrap(),
        0,
        "the idle connection is closed"
    );
    assert_eq!(pair.a.proxy.exit().await.code(), Some(0));
    assert!(
        !pair.a.proxy.stdout().contains("did not complete"),
        "{}",
        pair.a.proxy.stdout()
    );
}
