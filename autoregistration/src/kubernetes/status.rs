//! The status of `ExternalGroup`s, written by the replica that leads. Nobody acts upon it but people: it comes after all
//! else, at most every ten seconds for each group, and only when it changes.
//!
//! ```text
//! groups ──┐
//! settings ├──▶ wanted ──▶ pace ──▶ server-side apply ──▶ ExternalGroup/status
//! totals ──┘                ▲ what the API server kept of it ──┘
//! ```

mod pace;
mod shown;
#[cfg(test)]
mod tests;
mod wanted;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::ApiResource;
use kube::{Client, Resource as _};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{debug, info, warn};

use super::events::{self, Events, Regarding};
use super::groups::Followed;
use super::known::Key;
use super::leader::Leadership;
use crate::crd::ExternalGroup;
use crate::crd::status::ExternalGroupStatus;
use crate::linkerd::Settings;
use crate::registry::DefaultAccess;
use crate::registry::group_totals::GroupTotals;
use crate::registry::task::{Command, ask};
use crate::report;
use pace::{Due, Pace};
pub use shown::Shown;
use wanted::Facts;

/// Field manager of the status.
pub const STATUS: &str = "meshexpansion/status";
/// How often workloads are counted while nothing else happens.
const COUNTED: Duration = Duration::from_secs(10);
/// Between two looks, so that a crowd of edits is one.
const GAP: Duration = Duration::from_secs(1);
/// An API server that takes longer is away.
const PATIENCE: Duration = Duration::from_secs(5);
/// A problem that repeats is said so often at first, then only to those who look closely.
const LOUD: u32 = 3;

/// Writes the status of groups.
pub struct Statuses {
    client: Client,
    inputs: Inputs,
    pace: Pace,
    /// uids of the groups of which it was told that everybody may join.
    open: BTreeSet<String>,
    /// Failures in a row.
    failures: u32,
}

/// What it is made of.
#[derive(Debug)]
pub struct Inputs {
    /// The groups.
    pub followed: Followed,
    /// Settings of the mesh.
    pub settings: watch::Receiver<Arc<Settings>>,
    /// Where workloads are counted.
    pub registry: mpsc::Sender<Command>,
    /// Whether it is for us to write.
    pub leadership: Leadership,
    /// Where it is told that everybody may join a group.
    pub events: Events,
    /// Who may join a group that does not say.
    pub default_access: DefaultAccess,
}

/// A status that was not written.
enum Failed {
    /// The group is gone, or is not as we know it.
    Over,
    /// It is refused, and will be again.
    Refused(String),
    /// The API server is away, or asks for patience.
    Unavailable(String),
}

// === impl Statuses ===

impl std::fmt::Debug for Statuses {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Statuses")
            .field("inputs", &self.inputs)
            .finish_non_exhaustive()
    }
}

impl Statuses {
    /// Has written nothing yet.
    pub fn new(client: Client, inputs: Inputs) -> Self {
        Self {
            client,
            inputs,
            pace: Pace::default(),
            open: BTreeSet::new(),
            failures: 0,
        }
    }

    /// Writes while we lead, until nobody is left who could tell of groups.
    pub async fn run(mut self) {
        let mut leading = self.inputs.leadership.told();
        loop {
            // An error means that nobody elects any more, so that nobody leads.
            if leading.wait_for(|leading| *leading).await.is_err() {
                return std::future::pending().await;
            }
            let next = self.pass().await;
            sleep(GAP).await;
            let Inputs {
                followed, settings, ..
            } = &mut self.inputs;
            let closed = tokio::select! {
                changed = followed.shown.changed() => changed.is_err(),
                changed = settings.changed() => changed.is_err(),
                _ended_or_not = leading.changed() => false,
                () = sleep_until(next) => false,
            };
            if closed {
                return std::future::pending().await;
            }
            if !*leading.borrow_and_update() {
                // Another one writes now.
                self.pace = Pace::default();
            }
        }
    }

    /// Looks at all groups once; when the next look is due at the latest.
    async fn pass(&mut self) -> Instant {
        let Inputs {
            followed, settings, ..
        } = &mut self.inputs;
        // In the order in which they become known: what goes with a group is there once it is shown.
        let shown = Arc::clone(&followed.shown.borrow_and_update());
        let manifests = Arc::clone(&followed.manifests.borrow());
        let refused = Arc::clone(&followed.refused.borrow());
        let settings = Arc::clone(&settings.borrow_and_update());
        let mut next = Instant::now() + COUNTED;
        self.forget(&shown);
        let Some(totals) = self.totals(&shown).await else {
            return next;
        };
        for (key, shown) in shown.iter() {
            let group = manifests.groups.get(key);
            let problems = group.map(|group| settings.merge(group).problems);
            let facts = Facts {
                shown,
                group,
                refused: refused.get(key),
                totals: totals.get(key),
                problems: &problems.unwrap_or_default(),
                default_access: self.inputs.default_access,
            };
            if !facts.agree() {
                next = next.min(Instant::now() + GAP);
                continue;
            }
            let before = self.pace.before(key, shown);
            let wanted = facts.wanted(before, &now());
            match self.pace.due(key, shown, &wanted, Instant::now()) {
                Due::Never => {}
                Due::At(moment) => next = next.min(moment),
                Due::Now => {
                    if !self.inputs.leadership.holds() {
                        return next;
                    }
                    if !self.write(key, shown, wanted).await {
                        return next;
                    }
                }
            }
            if facts.is_open() {
                self.tell_open(key, shown);
            }
        }
        next
    }

    async fn totals(&self, shown: &BTreeMap<Key, Shown>) -> Option<BTreeMap<Key, GroupTotals>> {
        if shown.is_empty() || !self.inputs.leadership.holds() {
            return None;
        }
        ask(&self.inputs.registry, |reply| Command::Groups { reply }).await
    }

    /// Whether the API server answers.
    async fn write(&mut self, key: &Key, shown: &Shown, wanted: ExternalGroupStatus) -> bool {
        let (namespace, group) = (&key.0, &key.1);
        match self.apply(key, shown, &wanted).await {
            Ok(answered) => {
                debug!(namespace, group, "status of the group written");
                self.pace
                    .wrote(key, &shown.uid, (wanted, answered), Instant::now());
                if std::mem::take(&mut self.failures) > 0 {
                    info!("statuses of groups are written again");
                }
                true
            }
            Err(Failed::Over) => {
                self.pace
                    .failed(key, &shown.uid, pace::BETWEEN, Instant::now());
                true
            }
            Err(Failed::Refused(error)) => {
                self.complain(key, &error);
                self.pace
                    .failed(key, &shown.uid, pace::REFUSED, Instant::now());
                true
            }
            Err(Failed::Unavailable(error)) => {
                self.complain(key, &error);
                false
            }
        }
    }

    /// Answers with what the API server has kept of it: a definition that is not ours may not know all of our fields.
    /// Nothing can be applied then; merged, what it does not know is dropped.
    async fn apply(
        &self,
        key: &Key,
        shown: &Shown,
        status: &ExternalGroupStatus,
    ) -> Result<ExternalGroupStatus, Failed> {
        let mut body = json!({
            "apiVersion": ExternalGroup::api_version(&()),
            "kind": ExternalGroup::kind(&()),
            // With the version, another group of that name is not taken for this one. A uid would not do: an API server
            // does not look at it where a status is written (measured).
            "metadata": { "namespace": key.0, "name": key.1, "resourceVersion": shown.version },
            "status": status,
        });
        let patch = Patch::Apply(body.clone());
        match self
            .patch(key, PatchParams::apply(STATUS).force(), &patch)
            .await
        {
            Err(kube::Error::Api(status)) if matches!(status.code, 400 | 422 | 500) => {}
            answer => return answer.map_err(|error| failed(&key.1, &error)),
        }
        // The whole list is merged as one value, so that those of others are in it.
        let conditions = shown.others.iter().cloned();
        let ours = status.conditions.iter().map(|condition| json!(condition));
        body["status"]["conditions"] = conditions.chain(ours).collect();
        let params = PatchParams {
            field_manager: Some(STATUS.to_owned()),
            ..PatchParams::default()
        };
        let answer = self.patch(key, params, &Patch::Merge(body)).await;
        answer.map_err(|error| failed(&key.1, &error))
    }

    async fn patch(
        &self,
        (namespace, name): &Key,
        params: PatchParams,
        patch: &Patch<Value>,
    ) -> kube::Result<ExternalGroupStatus> {
        let kind = ApiResource::erase::<ExternalGroup>(&());
        let groups = Api::<DynamicObject>::namespaced_with(self.client.clone(), namespace, &kind);
        let request = groups.patch_status(name, &params, patch);
        match timeout(PATIENCE, request).await {
            Ok(answer) => answer.map(|object| Shown::read(&object).status),
            Err(elapsed) => Err(kube::Error::Service(elapsed.into())),
        }
    }

    fn tell_open(&mut self, (namespace, name): &Key, shown: &Shown) {
        if !self.open.insert(shown.uid.clone()) {
            return;
        }
        let regarding = Regarding {
            kind: events::Kind::Group,
            namespace: namespace.clone(),
            name: name.clone(),
            uid: shown.uid.clone(),
        };
        let events = &self.inputs.events;
        events.publish(regarding, events::Reason::OpenAccess, wanted::OPEN);
    }

    fn forget(&mut self, shown: &BTreeMap<Key, Shown>) {
        self.pace.retain(|key| shown.contains_key(key));
        let uids = shown.values().map(|shown| shown.uid.as_str());
        let uids: BTreeSet<&str> = uids.collect();
        self.open.retain(|uid| uids.contains(uid.as_str()));
    }

    fn complain(&mut self, (namespace, group): &Key, error: &str) {
        self.failures = self.failures.saturating_add(1);
        if self.failures <= LOUD {
            warn!(
                namespace,
                group, error, "cannot write the status of a group"
            );
        } else {
            debug!(
                namespace,
                group, error, "cannot write the status of a group"
            );
        }
    }
}

fn failed(name: &str, error: &kube::Error) -> Failed {
    let kube::Error::Api(status) = error else {
        return Failed::Unavailable(report::chain(error));
    };
    match status.code {
        409 => Failed::Over,
        // That there is no such object names it; that there is no such subresource does not.
        404 if status.details.as_ref().is_some_and(|it| it.name == name) => Failed::Over,
        404 => Failed::Refused(
            "the definition of ExternalGroup that is installed has no status; install ours with `autoregistration crds`"
                .to_owned(),
        ),
        429 | 500.. => Failed::Unavailable(report::chain(error)),
        _ => Failed::Refused(report::chain(error)),
    }
}

/// To the second, as Kubernetes keeps it.
fn now() -> Time {
    let now = Timestamp::now();
    Time(Timestamp::from_second(now.as_second()).unwrap_or(now))
}
