//! Writes the slices that are wanted, and deletes those of ours that are not.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use kube::{Client, ResourceExt as _};
use tokio::sync::watch;
use tokio::time::{Duration, sleep};
use tracing::warn;

use crate::publisher::Key;
use crate::slices::MANAGED_BY;

/// Slices by (namespace, name).
pub(crate) type Wanted = BTreeMap<Key, EndpointSlice>;

/// Before it is tried again.
const PAUSE: Duration = Duration::from_millis(500);

/// Writes whenever it changes what is wanted.
pub(crate) async fn run(client: Client, mut wanted: watch::Receiver<Option<Wanted>>) -> Result<()> {
    let mut written = Wanted::new();
    loop {
        let now = wanted.borrow_and_update().clone();
        if let Some(now) = now {
            while let Err(error) = write(&client, &mut written, &now).await {
                warn!(%error, "slices cannot be written");
                sleep(PAUSE).await;
                // What is there has to be looked at again.
                written.clear();
                if wanted.has_changed().unwrap_or_default() {
                    break;
                }
            }
        }
        wanted.changed().await.context("the watches have ended")?;
    }
}

async fn write(client: &Client, written: &mut Wanted, now: &Wanted) -> Result<(), kube::Error> {
    for (key, slice) in now {
        if written.get(key) == Some(slice) {
            continue;
        }
        let api = Api::<EndpointSlice>::namespaced(client.clone(), &key.0);
        let params = PatchParams::apply("stand-in-controllers").force();
        api.patch(&key.1, &params, &Patch::Apply(slice)).await?;
        written.insert(key.clone(), slice.clone());
    }
    let (label, value) = MANAGED_BY;
    let ours = ListParams::default().labels(&format!("{label}={value}"));
    let there = Api::<EndpointSlice>::all(client.clone())
        .list(&ours)
        .await?;
    for slice in there {
        let key = (slice.namespace().unwrap_or_default(), slice.name_any());
        if !now.contains_key(&key) {
            let api = Api::<EndpointSlice>::namespaced(client.clone(), &key.0);
            match api.delete(&key.1, &DeleteParams::default()).await {
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                deleted => drop(deleted?),
            }
            written.remove(&key);
        }
    }
    Ok(())
}
