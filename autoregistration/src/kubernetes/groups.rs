//! Follows the `ExternalGroup`s of a cluster and publishes them as a directory of manifests is published.
//!
//! Objects are taken as they come and read field by field, so that an odd one cannot stop the watch. When the API
//! server is away, or the definition is gone, the last state stays.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::StreamExt as _;
use kube::Client;
use kube::core::ApiResource;
use tokio::sync::watch;
use tracing::{info, warn};

use super::known::{Key, Known, Refused};
use super::metrics::Metrics;
use super::scope::{Complaints, Events, Heard, Scope};
use super::status::Shown;
use crate::crd::ExternalGroup;
use crate::manifests::Manifests;

/// Follows the groups.
pub struct Groups {
    events: Events,
    known: Known,
    manifests: watch::Sender<Arc<Manifests>>,
    refused: watch::Sender<Arc<BTreeMap<Key, Refused>>>,
    shown: watch::Sender<Arc<BTreeMap<Key, Shown>>>,
    complaints: Complaints,
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
    /// Lists the groups for the first time. Waits for the API server as long as it takes: before all are known, none can
    /// be called missing.
    pub async fn load(client: &Client, scope: &Scope, metrics: Metrics) -> (Self, Followed) {
        let kind = ApiResource::erase::<ExternalGroup>(&());
        let (manifests, manifests_receiver) = watch::channel(Arc::default());
        let (refused, refused_receiver) = watch::channel(Arc::default());
        let (shown, shown_receiver) = watch::channel(Arc::default());
        let mut groups = Self {
            events: scope.watch(client, &kind),
            known: Known::new(scope),
            manifests,
            refused,
            shown,
            complaints: Complaints::new("ExternalGroup", "externalgroups", metrics),
        };
        while let Some(heard) = groups.events.next().await {
            if groups.take(heard) {
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
        while let Some(heard) = self.events.next().await {
            self.take(heard);
        }
    }

    /// Whether all groups are known.
    fn take(&mut self, heard: Heard) -> bool {
        let Some((part, event)) = self.complaints.success(heard) else {
            return false;
        };
        if !self.known.take(&part, event) {
            return false;
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
