//! Follows the `ExternalGroup`s of a cluster and publishes them as a directory of manifests is published.
//!
//! Objects are taken as they come and read field by field, so that an odd one cannot stop the watch. When the API
//! server is away, or the definition is gone, the last state stays.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::{Stream, StreamExt as _};
use kube::api::{Api, DynamicObject};
use kube::core::ApiResource;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt as _, watcher as watch_objects};
use kube::{Client, Resource as _};
use tokio::sync::watch;
use tracing::{debug, info, warn};

use super::known::{Key, Known, Refused};
use super::metrics::Metrics;
use super::status::Shown;
use crate::crd::ExternalGroup;
use crate::manifests::Manifests;
use crate::report;

/// Objects that are asked for at once.
const PAGE: u32 = 500;
/// A problem that repeats is said so often at first, then only to those who look closely.
const LOUD: u32 = 3;
/// Of what is watched, in metrics.
const KIND: &str = "ExternalGroup";

type Events = std::pin::Pin<Box<dyn Stream<Item = watcher::Result<Event<DynamicObject>>> + Send>>;

/// Follows the groups.
pub struct Groups {
    events: Events,
    known: Known,
    manifests: watch::Sender<Arc<Manifests>>,
    refused: watch::Sender<Arc<BTreeMap<Key, Refused>>>,
    shown: watch::Sender<Arc<BTreeMap<Key, Shown>>>,
    metrics: Metrics,
    /// Failures in a row.
    failures: u32,
}

/// What is followed.
#[derive(Clone, Debug)]
pub struct Followed {
    /// The groups that VMs can join.
    pub manifests: watch::Receiver<Arc<Manifests>>,
    /// The groups that are not taken as they are.
    pub refused: watch::Receiver<Arc<BTreeMap<Key, Refused>>>,
    /// What all of them show of themselves. Told last: what it goes with is there by then.
    pub shown: watch::Receiver<Arc<BTreeMap<Key, Shown>>>,
}

// === impl Groups ===

impl std::fmt::Debug for Groups {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Groups")
            .field("known", &self.known)
            .finish_non_exhaustive()
    }
}

impl Groups {
    /// Lists the groups of all namespaces for the first time. Waits for the API server as long as it takes: before all
    /// are known, none can be called missing.
    pub async fn load(client: Client, metrics: Metrics) -> (Self, Followed) {
        let kind = ApiResource::erase::<ExternalGroup>(&());
        let api = Api::<DynamicObject>::all_with(client, &kind);
        let events = watch_objects(api, watcher::Config::default().page_size(PAGE));
        let (manifests, manifests_receiver) = watch::channel(Arc::default());
        let (refused, refused_receiver) = watch::channel(Arc::default());
        let (shown, shown_receiver) = watch::channel(Arc::default());
        let mut groups = Self {
            events: events.default_backoff().boxed(),
            known: Known::default(),
            manifests,
            refused,
            shown,
            metrics,
            failures: 0,
        };
        while let Some(event) = groups.events.next().await {
            if groups.take(event) {
                break;
            }
        }
        let followed = Followed {
            manifests: manifests_receiver,
            refused: refused_receiver,
            shown: shown_receiver,
        };
        info!(
            groups = followed.manifests.borrow().groups.len(),
            "groups loaded"
        );
        (groups, followed)
    }

    /// Follows them for ever.
    pub async fn run(mut self) {
        while let Some(event) = self.events.next().await {
            self.take(event);
        }
    }

    /// Whether all groups are known.
    fn take(&mut self, event: watcher::Result<Event<DynamicObject>>) -> bool {
        let event = match event {
            Ok(event) => event,
            Err(error) => {
                self.complain(&error);
                return false;
            }
        };
        if !self.known.take(event) {
            return false;
        }
        if std::mem::take(&mut self.failures) > 0 {
            info!("groups are followed again");
        }
        self.publish();
        true
    }

    fn publish(&self) {
        let (manifests, refused) = (self.known.manifests(), self.known.refused());
        self.refused.send_if_modified(|current| {
            let changed = **current != refused;
            if changed {
                for ((namespace, group), refused) in &refused {
                    let known = current.get(&(namespace.clone(), group.clone()));
                    if known != Some(refused) {
                        say(namespace, group, refused);
                    }
                }
                *current = Arc::new(refused);
            }
            changed
        });
        self.manifests.send_if_modified(|current| {
            let changed = **current != manifests;
            if changed {
                info!(groups = manifests.groups.len(), "groups changed");
                *current = Arc::new(manifests);
            }
            changed
        });
        let shown = self.known.shown();
        self.shown.send_if_modified(|current| {
            let changed = **current != shown;
            if changed {
                *current = Arc::new(shown);
            }
            changed
        });
    }

    fn complain(&mut self, error: &watcher::Error) {
        self.metrics.watch_restarted(KIND);
        self.failures = self.failures.saturating_add(1);
        let plural = ExternalGroup::plural(&());
        let error = report::chain(error);
        if self.failures <= LOUD {
            warn!(%error, "cannot follow {plural}, the last good state is kept");
        } else {
            debug!(%error, "cannot follow {plural}");
        }
    }
}

fn say(namespace: &str, group: &str, refused: &Refused) {
    let problems = refused.problems.iter().map(ToString::to_string);
    let error = problems.collect::<Vec<_>>().join("; ");
    if refused.kept {
        warn!(
            namespace,
            group, error, "group cannot be taken, its last good state is kept"
        );
    } else {
        warn!(
            namespace,
            group, error, "group cannot be taken, no VM can join it"
        );
    }
}
