//! Changes that open streams of Linkerd would miss, in the order that they do not.

use futures::StreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use tokio::time::sleep;

use super::slices::Slice;
use super::*;

/// Versions of an object as a watch sees them: version, address, readiness; the last is its end.
struct Seen {
    versions: mpsc::UnboundedReceiver<(String, Option<(String, String)>)>,
    task: JoinHandle<()>,
}

impl Seen {
    fn start(kept: &Kept, name: &str) -> Self {
        let (sender, versions) = mpsc::unbounded_channel();
        let only = watcher::Config::default().fields(&format!("metadata.name={name}"));
        let mut events = watcher(kept.api(), only).boxed();
        let task = tokio::spawn(async move {
            while let Some(event) = events.next().await {
                let (object, there) = match event {
                    Ok(Event::Apply(object) | Event::InitApply(object)) => (object, true),
                    Ok(Event::Delete(object)) => (object, false),
                    _ => continue,
                };
                let text = |path| {
                    object
                        .data
                        .pointer(path)
                        .and_then(Value::as_str)
                        .unwrap_or_default()
                        .to_owned()
                };
                let ip = text("/spec/workloadIPs/0/ip");
                let status = text("/status/conditions/0/status");
                let version = object.metadata.resource_version.clone().unwrap();
                if sender
                    .send((version, there.then_some((ip, status))))
                    .is_err()
                {
                    return;
                }
            }
        });
        Self { versions, task }
    }

    async fn next(&mut self) -> (String, Option<(String, String)>) {
        timeout(DEADLINE, self.versions.recv())
            .await
            .unwrap()
            .unwrap()
    }

    /// The next version that is another address or readiness.
    async fn until(&mut self, ip: &str, status: &str) -> String {
        let (version, state) = self.next().await;
        assert_eq!(state, Some((ip.to_owned(), status.to_owned())));
        version
    }
}

impl Drop for Seen {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tokio::test]
async fn an_address_changes_between_not_ready_in_the_slices_and_ready_again() {
    let cluster = Cluster::shared().await;
    let mut kept = Kept::start(&cluster, "store-address").await;
    kept.wish("a", present(&spec("a"), healthy()));
    kept.until_so("a", &spec("a"), &healthy()).await;
    let slice = Slice::of(&kept, "a");
    slice.set(true).await;
    let mut seen = Seen::start(&kept, "a");
    seen.until("10.77.0.2", "True").await;

    let moved = Spec {
        ips: vec!["10.77.0.9".parse().unwrap()],
        ..spec("a")
    };
    kept.wish("a", present(&moved, healthy()));
    let out = seen.until("10.77.0.2", "False").await;
    // Linkerd takes its time: longer than it takes to look at the slices twice.
    sleep(Duration::from_millis(2500)).await;
    slice.set(false).await;
    let drained = slice.written.lock().await[1].0.clone();
    let changed = seen.until("10.77.0.9", "False").await;
    let back = seen.until("10.77.0.9", "True").await;
    assert!(
        rises(&[&out, &drained, &changed, &back]),
        "{out} {drained} {changed} {back}"
    );
    kept.until_so("a", &moved, &healthy()).await;
}

#[tokio::test]
async fn a_workload_is_not_ready_then_out_of_the_slices_then_deleted() {
    let cluster = Cluster::shared().await;
    let mut kept = Kept::start(&cluster, "store-removal").await;
    kept.wish("a", present(&spec("a"), healthy()));
    kept.until_so("a", &spec("a"), &healthy()).await;
    let slice = Slice::of(&kept, "a");
    slice.set(true).await;
    let mut seen = Seen::start(&kept, "a");
    seen.until("10.77.0.2", "True").await;

    let uid = kept.uid("a");
    kept.wish("a", gone(Some(&uid)));
    let out = seen.until("10.77.0.2", "False").await;
    sleep(Duration::from_millis(2500)).await;
    slice.set(false).await;
    let drained = slice.written.lock().await[1].0.clone();
    let (end, state) = seen.next().await;
    assert_eq!(state, None);
    assert!(rises(&[&out, &drained, &end]), "{out} {drained} {end}");
    kept.until("it is told", |kept| kept.there("a").is_none())
        .await;
}

#[tokio::test]
async fn a_workload_that_is_made_again_is_ready_when_its_predecessor_has_left_the_slices() {
    let cluster = Cluster::shared().await;
    let mut kept = Kept::start(&cluster, "store-again").await;
    kept.wish("a", present(&spec("a"), healthy()));
    kept.until_so("a", &spec("a"), &healthy()).await;
    let slice = Slice::of(&kept, "a");
    slice.set(true).await;
    let (mut seen, first) = (Seen::start(&kept, "a"), kept.uid("a"));
    seen.until("10.77.0.2", "True").await;

    delete(&kept.client, "store-again", "a").await;
    assert_eq!(seen.next().await.1, None);
    seen.until("10.77.0.2", "").await;
    sleep(Duration::from_millis(2500)).await;
    slice.set(false).await;
    let drained = slice.written.lock().await[1].0.clone();
    let back = seen.until("10.77.0.2", "True").await;
    assert!(rises(&[&drained, &back]), "{drained} {back}");
    kept.until("the new one is told", |kept| {
        kept.is_so("a", &spec("a"), &healthy()) && kept.uid("a") != first
    })
    .await;
}
