//! An API server that is away, has much to do, or refuses.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::meddling::{self, Meddler, PATIENCE};
use super::*;

#[tokio::test]
async fn wishes_outlive_an_api_server_that_is_away() {
    let server = tokio::task::spawn_blocking(|| ApiServer::start().unwrap());
    let mut server = server.await.unwrap();
    let cluster = Cluster::at(&server).await;
    prepare(&cluster, "away").await;
    let own = meddling::client(&server, &Arc::default()).await;
    let mut kept = Kept::with(&cluster, own, "away").await;
    for name in ["a", "b"] {
        kept.wish(name, present(&spec(name), healthy()));
        kept.until_so(name, &spec(name), &healthy()).await;
    }
    let uid = kept.uid("b");
    server.kill();
    for turn in 0..20 {
        let ready = if turn % 2 == 0 { failed() } else { healthy() };
        kept.wish("a", present(&spec("a"), ready));
    }
    kept.wish("a", present(&spec("a"), failed()));
    kept.wish("b", gone(Some(&uid)));
    kept.wish("c", present(&spec("c"), healthy()));
    kept.until("it is said of all", |kept| kept.failed.len() == 3)
        .await;
    assert!(
        kept.failed
            .values()
            .all(|(failure, _)| *failure == Failure::Unavailable)
    );
    let server = tokio::task::spawn_blocking(move || {
        server.restart().unwrap();
        server
    });
    let _server = server.await.unwrap();
    kept.until_so("a", &spec("a"), &failed()).await;
    kept.until_so("c", &spec("c"), &healthy()).await;
    kept.until("it is gone", |kept| kept.there("b").is_none())
        .await;
    kept.until("nothing fails any more", |kept| kept.failed.is_empty())
        .await;
}

#[tokio::test]
async fn an_api_server_that_asks_for_patience_gets_it() {
    let server = tokio::task::spawn_blocking(|| ApiServer::start().unwrap());
    let server = server.await.unwrap();
    let cluster = Cluster::at(&server).await;
    prepare(&cluster, "busy").await;
    let meddler = Arc::new(Meddler::default());
    let own = meddling::client(&server, &meddler).await;
    let mut kept = Kept::with(&cluster, own, "busy").await;
    meddler.busy.store(2, Ordering::Relaxed);
    kept.wish("a", present(&spec("a"), Ready::starting()));
    kept.until_so("a", &spec("a"), &Ready::starting()).await;
    let seen = meddler.seen.lock().unwrap().clone();
    assert_eq!(seen.len(), 3, "{seen:?}");
    for pair in seen.windows(2) {
        assert!(
            pair[1].0 - pair[0].0 >= Duration::from_secs(PATIENCE),
            "{seen:?}"
        );
    }
}

#[tokio::test]
async fn what_is_refused_is_said_and_the_next_wish_is_tried_at_once() {
    let cluster = Cluster::shared().await;
    let mut kept = Kept::start(&cluster, "store-refused").await;
    let three = Spec {
        ips: ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
            .map(|ip| ip.parse().unwrap())
            .to_vec(),
        ..spec("a")
    };
    kept.wish("a", present(&three, healthy()));
    let key = kept.key("a");
    kept.until("it is said", |kept| kept.failed.contains_key(&key))
        .await;
    let (failure, message) = kept.failed[&key].clone();
    assert_eq!(failure, Failure::Refused);
    assert!(message.contains("must have at most 2 items"), "{message}");
    assert_eq!(kept.object("a").await, None);
    kept.wish("a", present(&spec("a"), healthy()));
    kept.until_so("a", &spec("a"), &healthy()).await;

    let nowhere = ("nowhere".to_owned(), "a".to_owned());
    let wish = Wish {
        key: nowhere.clone(),
        desired: Some(present(&spec("a"), healthy())),
    };
    kept.wishes.send(wish).unwrap();
    kept.until("it is said", |kept| kept.failed.contains_key(&nowhere))
        .await;
    assert_eq!(kept.failed[&nowhere].0, Failure::Refused);
}
