//! People and others at the same objects.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::meddling::{self, Meddler};
use super::*;

/// A store that hears only answers, no watch.
async fn deaf(server: &ApiServer, cluster: &Cluster, namespace: &str) -> Kept {
    let meddler = Arc::new(Meddler::default());
    meddler.watches_hang.store(true, Ordering::Relaxed);
    let own = meddling::client(server, &meddler).await;
    Kept::with(cluster, own, namespace).await
}

#[tokio::test]
async fn what_a_person_changes_is_changed_back() {
    let cluster = Cluster::shared().await;
    let mut kept = Kept::start(&cluster, "store-edits").await;
    let mut wanted = spec("a");
    wanted
        .annotations
        .insert("note".to_owned(), "ours".to_owned());
    kept.wish("a", present(&wanted, healthy()));
    kept.until_so("a", &wanted, &healthy()).await;
    let edits = [
        json!({ "metadata": { "labels": { "app": "other" } } }),
        json!({ "metadata": { "annotations": { "meshexpansion.io/instance": "cd" } } }),
        json!({ "metadata": { "ownerReferences": [] } }),
        json!({ "metadata": { "labels": { "meshexpansion.io/group": "other" } } }),
        json!({ "metadata": { "annotations": { "note": "theirs" } } }),
        json!({ "metadata": { "annotations": { "meshexpansion.io/hostname": "other" } } }),
        json!({ "spec": { "ports": [{ "name": "other", "port": 81, "protocol": "TCP" }] } }),
        json!({ "spec": { "ports": [{ "port": 53, "protocol": "UDP" }] } }),
        json!({ "spec": { "workloadIPs": [{ "ip": "10.66.6.6" }] } }),
        json!({ "spec": { "meshTLS": { "identity": "spiffe://root/other" } } }),
    ];
    for edit in edits {
        kept.edit("a", edit.clone()).await;
        let what = format!("the store has heard of {edit}");
        kept.until(&what, |kept| !kept.is_so("a", &wanted, &healthy()))
            .await;
        kept.until_so("a", &wanted, &healthy()).await;
    }
    let status = json!({ "status": { "conditions": [{ "type": "Ready", "status": "False", "reason": "Person" }] } });
    let patched = kept
        .api()
        .patch_status("a", &PatchParams::default(), &Patch::Merge(status))
        .await;
    drop(patched.unwrap());
    kept.until("the store has heard", |kept| {
        !kept.is_so("a", &wanted, &healthy())
    })
    .await;
    kept.until_so("a", &wanted, &healthy()).await;
}

#[tokio::test]
async fn a_foreign_object_is_left_alone_and_said() {
    let cluster = Cluster::shared().await;
    prepare(&cluster, "store-foreign").await;
    create(&cluster.client, "store-foreign", foreign("a")).await;
    let mut kept = Kept::with(&cluster, cluster.client.clone(), "store-foreign").await;
    let theirs = kept.there("a").unwrap();
    assert!(!theirs.ours);
    assert_eq!(
        theirs.spec.ips,
        ["10.9.9.9".parse::<std::net::IpAddr>().unwrap()]
    );
    assert_eq!(theirs.spec.ports, [(String::new(), 8080)]);
    let before = kept.object("a").await;
    kept.wish("a", present(&spec("a"), healthy()));
    let key = kept.key("a");
    kept.until("it is said", |kept| kept.failed.contains_key(&key))
        .await;
    assert_eq!(kept.failed[&key].0, Failure::Foreign);
    kept.wish("a", gone(None));
    kept.until_quiet("b").await;
    assert_eq!(kept.object("a").await, before);

    // Once it is out of the way, the wish is carried out.
    kept.wish("a", present(&spec("a"), Ready::starting()));
    delete(&kept.client, "store-foreign", "a").await;
    kept.until_so("a", &spec("a"), &Ready::starting()).await;
}

#[tokio::test]
async fn an_object_that_was_made_meanwhile_is_not_taken_for_the_one_before() {
    let server = tokio::task::spawn_blocking(|| ApiServer::start().unwrap());
    let server = server.await.unwrap();
    let cluster = Cluster::at(&server).await;
    prepare(&cluster, "meanwhile").await;
    // Somebody else's store makes two workloads, not ready.
    let mut other = Kept::with(&cluster, cluster.client.clone(), "meanwhile").await;
    for name in ["deleted", "marked"] {
        other.wish(name, present(&spec(name), Ready::starting()));
        other.until_so(name, &spec(name), &Ready::starting()).await;
    }
    let mut kept = deaf(&server, &cluster, "meanwhile").await;
    let (deleted, marked) = (kept.uid("deleted"), kept.uid("marked"));
    for name in ["deleted", "marked"] {
        delete(&cluster.client, "meanwhile", name).await;
        other
            .until("it is gone", |kept| {
                kept.there(name)
                    .is_none_or(|it| it.uid != deleted && it.uid != marked)
            })
            .await;
        other.until_so(name, &spec(name), &Ready::starting()).await;
    }
    create(&cluster.client, "meanwhile", foreign("made")).await;
    let mut versions = Vec::new();
    for name in ["deleted", "marked", "made"] {
        versions.push(kept.version(name).await);
    }
    drop(other);

    kept.wish("deleted", gone(Some(&deleted)));
    let lost = ready(Status::Unknown, "HarnessUnreachable");
    kept.wish(
        "marked",
        Desired::Marked {
            uid: marked,
            ready: lost,
        },
    );
    kept.wish("made", present(&spec("made"), healthy()));
    let key = kept.key("made");
    kept.until("it is said", |kept| kept.failed.contains_key(&key))
        .await;
    assert_eq!(kept.failed[&key].0, Failure::Foreign);
    kept.until("the truth is known", |kept| {
        kept.uid("deleted") != deleted && kept.there("made").is_some_and(|it| !it.ours)
    })
    .await;
    kept.until_quiet("z").await;
    for (name, version) in ["deleted", "marked", "made"].iter().zip(versions) {
        assert_eq!(kept.version(name).await, version, "{name}");
    }
}

#[tokio::test]
async fn a_status_makes_no_object() {
    let server = tokio::task::spawn_blocking(|| ApiServer::start().unwrap());
    let server = server.await.unwrap();
    let cluster = Cluster::at(&server).await;
    prepare(&cluster, "bare").await;
    let mut other = Kept::with(&cluster, cluster.client.clone(), "bare").await;
    other.wish("a", present(&spec("a"), Ready::starting()));
    other.until_so("a", &spec("a"), &Ready::starting()).await;
    drop(other);
    let mut kept = deaf(&server, &cluster, "bare").await;
    delete(&cluster.client, "bare", "a").await;
    let uid = kept.uid("a");
    kept.wish(
        "a",
        Desired::Marked {
            uid,
            ready: failed(),
        },
    );
    kept.until("it is known to be gone", |kept| kept.there("a").is_none())
        .await;
    kept.until_quiet("z").await;
    assert_eq!(kept.object("a").await, None);
}
