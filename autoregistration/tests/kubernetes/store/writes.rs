//! What is written, and that nothing else is.

use super::*;

#[tokio::test]
async fn a_wish_becomes_an_object_and_the_same_wish_again_writes_nothing() {
    let cluster = Cluster::shared().await;
    let mut kept = Kept::start(&cluster, "store-writes").await;
    let spec = Spec {
        proxy_inbound_port: 5143,
        ..spec("a")
    };
    kept.wish("a", present(&spec, Ready::starting()));
    kept.until_so("a", &spec, &Ready::starting()).await;
    let mut object = kept.object("a").await.unwrap();
    let metadata = object["metadata"].as_object_mut().unwrap();
    let managers = metadata.remove("managedFields").unwrap();
    for field in ["creationTimestamp", "generation"] {
        assert!(metadata.remove(field).is_some());
    }
    let stored = kept.there("a").unwrap();
    let expected = json!({
        "apiVersion": "workload.linkerd.io/v1beta1",
        "kind": "ExternalWorkload",
        "metadata": {
            "name": "a",
            "namespace": "store-writes",
            "uid": stored.uid,
            "resourceVersion": stored.resource_version,
            "labels": { "app": "training-app", "meshexpansion.io/group": "training-vm" },
            "annotations": {
                "meshexpansion.io/applied": spec.hash(),
                "meshexpansion.io/hostname": "vm-1",
                "meshexpansion.io/instance": "ab".repeat(32),
            },
            "ownerReferences": [{
                "apiVersion": "workload.buoyant.io/v1alpha1",
                "kind": "ExternalGroup",
                "name": "training-vm",
                "uid": spec.group_uid,
                "controller": true,
                "blockOwnerDeletion": false,
            }],
        },
        "spec": {
            "meshTLS": { "identity": spec.identity, "serverName": spec.server_name },
            "ports": [
                { "name": "http", "port": 80, "protocol": "TCP" },
                { "name": "linkerd-proxy", "port": 5143, "protocol": "TCP" },
            ],
            "workloadIPs": [{ "ip": "10.77.0.2" }],
        },
    });
    assert_eq!(object, expected);
    assert_eq!(managers.as_array().unwrap().len(), 1);
    assert_eq!(managers[0]["manager"], "meshexpansion/workload");
    assert_eq!(managers[0]["operation"], "Apply");

    let version = kept.version("a").await;
    kept.wish("a", present(&spec, Ready::starting()));
    let words = Ready {
        message: "other words".to_owned(),
        ..Ready::starting()
    };
    kept.wish("a", present(&spec, words));
    kept.until_quiet("b").await;
    assert_eq!(kept.version("a").await, version);
    assert_eq!(kept.failed, BTreeMap::new());
}

#[tokio::test]
async fn readiness_is_one_condition_of_the_status_and_its_moment_changes_with_its_status_alone() {
    let cluster = Cluster::shared().await;
    let mut kept = Kept::start(&cluster, "store-readiness").await;
    kept.wish("a", present(&spec("a"), healthy()));
    kept.until_so("a", &spec("a"), &healthy()).await;
    let object = kept.object("a").await.unwrap();
    let conditions = object["status"]["conditions"].as_array().unwrap();
    assert_eq!(conditions.len(), 1);
    let moment = conditions[0]["lastTransitionTime"].as_str().unwrap();
    assert!(moment.len() == 20 && moment.ends_with('Z'), "{moment}");
    assert_eq!(
        conditions[0],
        json!({
            "type": "Ready",
            "status": "True",
            "reason": "ProbeSucceeded",
            "message": "ProbeSucceeded is why",
            "lastTransitionTime": moment,
        })
    );
    let managers = object["metadata"]["managedFields"].as_array().unwrap();
    let health = managers
        .iter()
        .find(|it| it["manager"] == "meshexpansion/health");
    assert_eq!(health.unwrap()["subresource"], "status");
    let generation = object["metadata"]["generation"].clone();

    // As if it had been so for long.
    let long = "2020-02-02T02:02:02Z";
    let mut condition = conditions[0].clone();
    condition["lastTransitionTime"] = json!(long);
    condition["lastProbeTime"] = json!(long);
    let patch = json!({ "status": { "conditions": [condition] } });
    let by_hand = kept
        .api()
        .patch_status("a", &PatchParams::default(), &Patch::Merge(patch))
        .await;
    let version = by_hand.unwrap().metadata.resource_version.unwrap();
    kept.wish(
        "a",
        present(
            &spec("a"),
            Ready {
                message: "other words".to_owned(),
                ..healthy()
            },
        ),
    );
    kept.until_quiet("b").await;
    assert_eq!(
        kept.version("a").await,
        version,
        "a message is not worth a write"
    );

    let other = ready(Status::True, "ProxyReady");
    kept.wish("a", present(&spec("a"), other.clone()));
    kept.until_so("a", &spec("a"), &other).await;
    let object = kept.object("a").await.unwrap();
    assert_eq!(
        object["status"]["conditions"][0]["lastTransitionTime"],
        long
    );
    kept.wish("a", present(&spec("a"), failed()));
    kept.until_so("a", &spec("a"), &failed()).await;
    let object = kept.object("a").await.unwrap();
    assert_ne!(
        object["status"]["conditions"][0]["lastTransitionTime"],
        long
    );
    assert_eq!(
        object["metadata"]["generation"], generation,
        "the spec was not touched"
    );
}

#[tokio::test]
async fn a_new_workload_is_ready_only_a_second_after_it_was_made() {
    let cluster = Cluster::shared().await;
    let mut kept = Kept::start(&cluster, "store-settles").await;
    kept.wish("a", present(&spec("a"), healthy()));
    kept.until("it is made", |kept| kept.there("a").is_some())
        .await;
    let made = tokio::time::Instant::now();
    assert_eq!(kept.there("a").unwrap().ready, None);
    kept.until_so("a", &spec("a"), &healthy()).await;
    // Told a little later than answered, both times.
    assert!(
        made.elapsed() > Duration::from_millis(700),
        "{:?}",
        made.elapsed()
    );
}

#[tokio::test]
async fn what_a_group_no_longer_says_is_taken_away_and_what_others_added_stays() {
    let cluster = Cluster::shared().await;
    let mut kept = Kept::start(&cluster, "store-labels").await;
    let mut before = spec("a");
    before.labels.insert("tier".to_owned(), "one".to_owned());
    before
        .annotations
        .insert("note".to_owned(), "one".to_owned());
    kept.wish("a", present(&before, Ready::starting()));
    kept.until_so("a", &before, &Ready::starting()).await;
    kept.edit(
        "a",
        json!({ "metadata": { "labels": { "team": "theirs" } } }),
    )
    .await;
    kept.wish("a", present(&spec("a"), Ready::starting()));
    kept.until_so("a", &spec("a"), &Ready::starting()).await;
    let metadata = kept.object("a").await.unwrap()["metadata"].clone();
    let labels =
        json!({ "app": "training-app", "team": "theirs", "meshexpansion.io/group": "training-vm" });
    assert_eq!(metadata["labels"], labels);
    assert_eq!(metadata["annotations"].get("note"), None);
}
