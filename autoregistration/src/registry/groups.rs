//! Edits of the manifests and of the mesh's settings, taken over by living workloads, some at a time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tracing::info;

use super::admission::group_key;
use super::hello::Hello;
use super::session::{Stage, Wait};
use super::workload::{Duty, Presence, Workload};
use super::{Registry, Replicas, StreamId};
use crate::manifests::Manifests;
use crate::refusal::{Reason, Refusal};
use crate::store::Key;

/// So many workloads are told of an edit at once.
const BATCH: usize = 50;
/// Between two batches: 200 VMs a second restart their proxies at most.
const BETWEEN_BATCHES: Duration = Duration::from_millis(250);
/// Names in a line for people.
const MOST_NAMES: usize = 10;

// === impl Registry ===

impl Registry {
    pub(super) fn set_manifests(&mut self, manifests: Arc<Manifests>) {
        let now = self.now;
        self.changed = true;
        self.cluster_ips = crate::cluster_ip::assign(
            &manifests.services,
            self.rules.service_network,
            &self.cluster_ips,
        );
        let manifests = self.hold_back(manifests);
        let before = std::mem::replace(&mut self.manifests, manifests);
        let mut bereft = Vec::new();
        let mut edited = Vec::new();
        for (key, workload) in self.workloads.iter() {
            let group = (key.0.clone(), workload.group.name.to_string());
            match self.manifests.groups.get(&group) {
                Some(now) if before.groups.get(&group) == Some(now) => {}
                Some(_) => edited.push(key.clone()),
                None if workload.is_leaving() || self.manifests.unreadable.contains(&group) => {}
                None => bereft.push(key.clone()),
            }
        }
        for key in bereft {
            self.bereave(&key, now);
        }
        self.roll_out(edited);
        // How long those are kept that are away may be another time now.
        let judgement = self.judgement_due();
        self.due_at(judgement);
        // Those whose group is still missing have been told so.
        let manifests = Arc::clone(&self.manifests);
        self.admit_waiting(|wait, hello| {
            matches!(wait, Wait::Group) && manifests.groups.contains_key(&group_key(hello))
        });
        self.admit_waiting(|wait, hello| {
            let group = manifests.groups.get(&group_key(hello));
            *wait == Wait::Edition && group.is_none_or(|group| hello.edition <= group.edition)
        });
    }

    /// Why nobody can be in this group.
    pub(super) fn group_not_found(&self, hello: &Hello) -> Refusal {
        let (name, namespace) = (&hello.group.name, &hello.group.namespace);
        let watched = &self.manifests.watched;
        let message = if watched.is_empty() || watched.contains(namespace.as_str()) {
            format!("there is no ExternalGroup `{name}` in namespace `{namespace}`")
        } else {
            format!(
                "this service looks only at the namespaces {}: make ExternalGroup `{name}` in one of them, or add \
                 `{namespace}` to watchNamespaces of the chart",
                named(watched)
            )
        };
        Refusal::new(Reason::GroupNotFound, message)
    }

    /// What a paused group says of its members waits. Who may be one does not, nor whose they are.
    fn hold_back(&self, manifests: Arc<Manifests>) -> Arc<Manifests> {
        let paused = manifests.groups.iter().filter(|(_, group)| group.paused);
        let held = paused.filter_map(|(key, group)| {
            let held = group.described_as(self.manifests.groups.get(key)?);
            (held != *group).then(|| (key.clone(), held))
        });
        let held = held.collect::<Vec<_>>();
        if held.is_empty() {
            return manifests;
        }
        let mut manifests = Manifests::clone(&manifests);
        manifests.groups.extend(held);
        Arc::new(manifests)
    }

    /// The group of a workload is gone.
    fn bereave(&mut self, key: &Key, now: Duration) {
        let Some(workload) = self.workloads.get_mut(key) else {
            return;
        };
        let stream = workload.stream();
        // Of a VM that may be on another replica, that one decides; the leader of those that are lost.
        if stream.is_none() && !self.leading {
            return;
        }
        info!(
            namespace = key.0,
            workload = key.1,
            "group removed, workload follows"
        );
        workload.presence = Presence::Lost(now);
        workload.retire("GroupDeleted", "its ExternalGroup is gone", now);
        self.settle(key);
        if let Some(stream) = stream
            && let Some(session) = self.sessions.get_mut(&stream)
        {
            session.sent.clear();
            let hello = session.hello.clone();
            self.wait_for_group(stream, &hello);
        }
    }

    /// Everybody is to be told of what the mesh's settings are now.
    pub(super) fn roll_out_to_all(&mut self) {
        let keys = self.workloads.iter().map(|(key, _)| key.clone());
        let keys = keys.collect();
        self.roll_out(keys);
    }

    fn roll_out(&mut self, keys: Vec<Key>) {
        let idle = self.rollout.is_empty();
        let told: BTreeSet<&Key> = self.rollout.iter().collect();
        let keys = keys
            .into_iter()
            .filter(|key| !told.contains(key) && self.is_ours_to_tell(key))
            .collect::<Vec<_>>();
        self.rollout.extend(keys);
        if idle {
            self.next_batch();
        }
    }

    /// One that is lost has only us, when we are alone.
    fn is_ours_to_tell(&self, key: &Key) -> bool {
        let stream = self.workloads.get(key).map(Workload::stream);
        stream.is_some_and(|stream| stream.is_some() || self.replicas == Replicas::One)
    }

    /// Tells some of those that have not been told.
    pub(super) fn next_batch(&mut self) {
        for _ in 0..BATCH {
            let Some(key) = self.rollout.pop_front() else {
                break;
            };
            let stream = self.workloads.get(&key).and_then(Workload::stream);
            if self.is_shut_out(&key, stream) {
                continue;
            }
            self.reshape(&key);
            if let Some(stream) = stream {
                self.assign_if_changed(stream);
            }
        }
        self.batch_at = self.now.saturating_add(BETWEEN_BATCHES);
        if !self.rollout.is_empty() {
            self.due_at(self.batch_at);
        }
    }

    /// Takes a member out that its group does not let in any more.
    fn is_shut_out(&mut self, key: &Key, stream: Option<StreamId>) -> bool {
        let (Some(stream), Some(workload)) = (stream, self.workloads.get(key)) else {
            return false;
        };
        let Some(refusal) = self.not_let_in(workload, workload.ips()) else {
            return false;
        };
        let now = self.now;
        if let Some(workload) = self.workloads.get_mut(key) {
            workload.retire("NotAllowed", "its group does not let it in any more", now);
        }
        self.settle(key);
        self.refuse(stream, refusal);
        true
    }

    /// Makes the spec of a workload anew, of what its VM, its group and the mesh say now.
    pub(super) fn reshape(&mut self, key: &Key) {
        let Some(workload) = self.workloads.get(key) else {
            return;
        };
        let group = (key.0.clone(), workload.group.name.to_string());
        let Some(group) = self.manifests.groups.get(&group) else {
            return;
        };
        let session = workload
            .stream()
            .and_then(|stream| self.sessions.get(&stream));
        let spec = match session {
            Some(session) => workload.shape(&session.hello, group, &self.settings, &self.rules),
            // One that is lost has only us, when we are alone.
            None if self.replicas == Replicas::One => workload.reshaped(group, &self.settings),
            None => return,
        };
        if *workload.spec == spec && !workload.frozen {
            return;
        }
        let moves = workload.ips() != spec.ips;
        self.workloads.change(key, |workload| {
            workload.spec = Arc::new(spec);
            workload.frozen = false;
            if workload.stream().is_none() && workload.duty == Duty::None {
                workload.duty = Duty::LastWord;
            }
        });
        self.settle(key);
        if moves {
            self.admit_roomers();
        }
    }

    /// Sends the assignment when it has changed.
    fn assign_if_changed(&mut self, stream: StreamId) {
        let sent = self.sessions.get(&stream).map(|session| &session.sent);
        let now = self.assignment(stream).map(|(_, made)| made.config_hash);
        if now.is_some_and(|now| sent.is_some_and(|sent| *sent != now)) {
            self.assign(stream);
        }
    }

    /// Tries those again that wait for what `which` says.
    pub(super) fn admit_waiting(&mut self, which: impl Fn(&Wait, &Hello) -> bool) {
        let waiting = self
            .sessions
            .iter()
            .filter(|(_, session)| match &session.stage {
                Stage::Waiting(wait) => which(wait, &session.hello),
                Stage::Joined(_) => false,
            })
            .map(|(stream, _)| *stream)
            .collect::<Vec<_>>();
        for stream in waiting {
            // One before it may have ended it.
            if self.waits(stream) {
                self.admit(stream);
            }
        }
    }
}

/// Names for people, as many as a line has room for.
fn named(names: &BTreeSet<String>) -> String {
    let shown = names
        .iter()
        .take(MOST_NAMES)
        .map(|name| format!("`{name}`"));
    let shown = shown.collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(MOST_NAMES) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
