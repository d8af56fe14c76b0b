//! Many workloads at once.

use super::*;

const WORKLOADS: usize = 2000;

fn name(number: usize) -> String {
    format!("vm-{number:04}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_workloads_are_made_ready_and_written_never_again() {
    let server = tokio::task::spawn_blocking(|| ApiServer::start().unwrap());
    let server = server.await.unwrap();
    let cluster = Cluster::at(&server).await;
    let mut kept = Kept::start(&cluster, "many").await;
    let wish_all = |kept: &Kept| {
        for number in 0..WORKLOADS {
            kept.wish(&name(number), present(&spec(&name(number)), healthy()));
        }
    };
    let start = tokio::time::Instant::now();
    wish_all(&kept);
    kept.until("all are ready", |kept| {
        let is_ready = |it: &Stored| {
            it.ready
                .as_ref()
                .is_some_and(|it| it.status == Status::True)
        };
        kept.there.len() == WORKLOADS && kept.there.values().all(is_ready)
    })
    .await;
    let took = start.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
    let rate = (2 * WORKLOADS) as f64 / took;
    println!("{} writes in {took:.1} s, {rate:.0}/s", 2 * WORKLOADS);

    let before = versions(&kept).await;
    assert_eq!(before.len(), WORKLOADS);
    wish_all(&kept);
    kept.until_quiet("sign").await;
    // Another store that wants the same, as after a restart.
    let mut other = Kept::with(&cluster, cluster.client.clone(), "many").await;
    wish_all(&other);
    other.until_quiet("another-sign").await;
    assert_eq!(versions(&kept).await, before);
}

async fn versions(kept: &Kept) -> Vec<(String, String)> {
    let list = kept
        .api()
        .list(&kube::api::ListParams::default())
        .await
        .unwrap();
    let all = list.items.into_iter().map(|it| {
        let metadata = it.metadata;
        (metadata.name.unwrap(), metadata.resource_version.unwrap())
    });
    all.filter(|(name, _)| name.starts_with("vm-")).collect()
}
