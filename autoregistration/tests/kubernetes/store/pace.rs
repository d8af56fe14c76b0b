//! What is urgent is written first, and what nobody waits for a little at a time.

use super::*;

const MANY_NAMES: usize = 100;

fn name(number: usize) -> String {
    format!("vm-{number:03}")
}

/// Those of this test; the API server has others' as well.
fn made(kept: &Kept) -> Vec<&Stored> {
    let all = kept.there.iter();
    let ours = all
        .filter(|((namespace, name), _)| *namespace == kept.namespace && name.starts_with("vm-"));
    ours.map(|(_, stored)| stored).collect()
}

#[tokio::test]
async fn new_descriptions_are_written_twenty_a_second() {
    let cluster = Cluster::shared().await;
    let mut kept = Kept::start(&cluster, "store-describes").await;
    for number in 0..MANY_NAMES {
        kept.wish(
            &name(number),
            present(&spec(&name(number)), Ready::starting()),
        );
    }
    kept.until("all are made", |kept| made(kept).len() == MANY_NAMES)
        .await;
    let edited = |name: &str| {
        let mut spec = spec(name);
        spec.labels.insert("tier".to_owned(), "back".to_owned());
        spec
    };
    let began = tokio::time::Instant::now();
    for number in 0..MANY_NAMES {
        kept.wish(
            &name(number),
            present(&edited(&name(number)), Ready::starting()),
        );
    }
    kept.until("all are described anew", |kept| {
        made(kept)
            .iter()
            .all(|it| it.spec.labels.contains_key("tier"))
    })
    .await;
    // Forty at once, then twenty a second.
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(2500), "{took:?}");
}

#[tokio::test]
async fn one_that_fails_is_written_before_many_that_are_new() {
    let cluster = Cluster::shared().await;
    prepare(&cluster, "store-lanes").await;
    let slow = StoreSettings {
        writes_per_second: 10,
    };
    let mut kept = Kept::paced(&cluster, cluster.client.clone(), "store-lanes", slow).await;
    kept.wish("serves", present(&spec("serves"), healthy()));
    kept.until_so("serves", &spec("serves"), &healthy()).await;
    for number in 0..MANY_NAMES {
        kept.wish(
            &name(number),
            present(&spec(&name(number)), Ready::starting()),
        );
    }
    // All wait by now that are not let through at once.
    kept.until("one is made", |kept| !made(kept).is_empty())
        .await;
    kept.wish("serves", present(&spec("serves"), failed()));
    kept.until_so("serves", &spec("serves"), &failed()).await;
    let made = made(&kept).len();
    assert!(made < MANY_NAMES, "it was the last of {made}");
}
