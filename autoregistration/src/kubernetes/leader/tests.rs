//! A leader and an API server that stops answering.

use std::sync::Mutex;

use http_body_util::BodyExt as _;
use hyper::{Method, Request, Response};
use kube::client::Body;
use serde_json::{Value, json};
use tower::service_fn;

use super::*;

/// Gives what it was given last, under another version. After `hangs` requests it takes them and says nothing.
fn api_server(hangs: usize, written: &watch::Sender<Instant>) -> Client {
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": { "name": "a", "namespace": "b", "resourceVersion": "0" }, "spec": {},
    });
    let state = Arc::new(Mutex::new((0, lease)));
    let written = written.clone();
    let service = service_fn(move |request: Request<Body>| {
        let (state, written) = (Arc::clone(&state), written.clone());
        async move {
            let asked = Instant::now();
            let put = request.method() == Method::PUT;
            let body = request.into_body().collect().await.unwrap().to_bytes();
            // A round trip takes a while, and the change happens at its begin.
            let (hang, answer) = {
                let mut state = state.lock().unwrap();
                state.0 += 1;
                if put && state.0 <= hangs {
                    let mut lease: Value = serde_json::from_slice(&body).unwrap();
                    lease["metadata"]["resourceVersion"] = json!(state.0.to_string());
                    state.1 = lease;
                    written.send_replace(asked);
                }
                (state.0 > hangs, state.1.to_string())
            };
            if hang {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
            Ok::<_, std::io::Error>(Response::new(Body::from(answer.into_bytes())))
        }
    });
    Client::new(service, "b")
}

#[tokio::test(start_paused = true)]
async fn a_leader_whose_api_server_hangs_stops_before_its_lease_can_be_taken() {
    for hangs in 2..8 {
        let written = watch::Sender::new(Instant::now());
        let client = api_server(hangs, &written);
        let timing = Timing::default();
        let metrics = Metrics::default();
        let (leader, leadership) = Leader::new(client, "b", "a", "replica", timing, metrics);
        let running = tokio::spawn(leader.run(std::future::pending()));
        let mut told = leadership.told();
        told.wait_for(|leads| *leads).await.unwrap();
        assert!(leadership.holds());
        told.wait_for(|leads| !*leads).await.unwrap();
        assert!(!leadership.holds());
        let since = written.borrow().elapsed();
        assert!(since < timing.lease, "{since:?} after {hangs} requests");
        running.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_stops_does_not_wait_for_an_api_server_that_hangs() {
    let client = api_server(3, &watch::Sender::new(Instant::now()));
    let metrics = Metrics::default();
    let (leader, leadership) = Leader::new(client, "b", "a", "replica", Timing::default(), metrics);
    let stop = watch::Sender::new(false);
    let mut stopped = stop.subscribe();
    let running = tokio::spawn(leader.run(async move {
        drop(stopped.wait_for(|stop| *stop).await);
    }));
    leadership.told().wait_for(|leads| *leads).await.unwrap();
    let began = Instant::now();
    stop.send_replace(true);
    running.await.unwrap();
    assert!(began.elapsed() <= RELEASE);
    assert!(!leadership.holds());
}
