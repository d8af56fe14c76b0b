//! The workloads that are there: all of them, whoever made them, by a watch and by the answers to our own writes. The
//! newest counts, whichever way it comes: a cache that lags behind our own writes would have us write again. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kube::api::DynamicObject;
use kube::runtime::watcher::Event;
use tokio::time::Instant;

use super::scope::{Awaited, Part, Scope};
use super::step::RECONFIGURING;
use super::workload::{self, Object};
use crate::store::{Key, Status, Stored};

/// What is gone is remembered so long: by then a watch that lags has told it as well.
const MEMORY: Duration = Duration::from_secs(120);

/// What is there.
#[derive(Debug, Default)]
pub struct Workloads {
    there: BTreeMap<Key, Entry>,
    gone: BTreeMap<Key, Gone>,
    groups: BTreeMap<Key, Serving>,
    lists: BTreeMap<Part, List>,
    awaited: Awaited,
}

/// A list that is under way.
#[derive(Debug, Default)]
struct List {
    /// What it has brought so far.
    listed: BTreeMap<Key, Object>,
    /// What was answered since it began.
    answered: BTreeSet<Key>,
}

/// Workloads of a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Serving {
    /// Those that are ready.
    pub ready: usize,
    /// Those that were taken out to be changed.
    pub out: usize,
}

/// One that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// As it is.
    pub object: Object,
    /// Since when it is reached as it is.
    pub since: Instant,
    /// Whether there was another one of that name shortly before, and this one has not been ready yet.
    pub again: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Gone {
    uid: String,
    at: Instant,
}

/// What an event has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A list has begun or goes on.
    Nothing,
    /// This one.
    One(Key),
    /// All are known.
    All,
}

// === impl Workloads ===

impl Workloads {
    /// Nothing is known yet of what is in `scope`.
    pub fn new(scope: &Scope) -> Self {
        Self {
            awaited: Awaited::new(scope),
            ..Self::default()
        }
    }

    /// One that is there.
    pub fn get(&self, key: &Key) -> Option<&Entry> {
        self.there.get(key)
    }

    /// All that are there.
    pub fn all(&self) -> impl Iterator<Item = (&Key, &Stored)> {
        self.there.iter().map(|(key, it)| (key, &it.object.stored))
    }

    /// How many of a group serve.
    pub fn serving(&self, group: &Key) -> Serving {
        self.groups.get(group).copied().unwrap_or_default()
    }

    /// Takes an event of the watch of `part`.
    pub fn take(&mut self, part: &Part, event: Event<DynamicObject>, now: Instant) -> Change {
        let change = self.took(part, event, now);
        // One is told of only after all.
        if self.awaited.is_over() {
            change
        } else {
            Change::Nothing
        }
    }

    fn took(&mut self, part: &Part, event: Event<DynamicObject>, now: Instant) -> Change {
        match event {
            Event::Init => {
                self.lists.insert(part.clone(), List::default());
                Change::Nothing
            }
            Event::InitApply(object) => {
                let (key, object) = workload::read(object);
                if let Some(list) = self.lists.get_mut(part) {
                    list.listed.insert(key, object);
                }
                Change::Nothing
            }
            Event::InitDone => {
                let List { listed, answered } = self.lists.remove(part).unwrap_or_default();
                let missing = self.there.keys().filter(|key| {
                    // The list may be older than the answer.
                    part.has(&key.0) && !listed.contains_key(key) && !answered.contains(key)
                });
                for key in missing.cloned().collect::<Vec<_>>() {
                    self.remove(&key, now);
                }
                self.gone.retain(|_, gone| gone.at + MEMORY > now);
                for (key, object) in listed {
                    if !answered.contains(&key) {
                        self.is_so(&key, &object.stored);
                    }
                    self.put(key, object, now);
                }
                self.awaited.came(part);
                Change::All
            }
            Event::Apply(object) => {
                let (key, object) = workload::read(object);
                self.put(key.clone(), object, now);
                Change::One(key)
            }
            Event::Delete(object) => {
                let (key, object) = workload::read(object);
                self.gone.retain(|_, gone| gone.at + MEMORY > now);
                let is_meant = |entry: &Entry| entry.object.stored.uid == object.stored.uid;
                if self.there.get(&key).is_some_and(is_meant) {
                    self.remove(&key, now);
                }
                Change::One(key)
            }
        }
    }

    /// Takes what the API server has answered; `None` says that it is not there.
    pub fn answered(&mut self, key: &Key, object: Option<Object>, now: Instant) {
        for (part, list) in &mut self.lists {
            if part.has(&key.0) {
                list.answered.insert(key.clone());
            }
        }
        match object {
            Some(object) => self.put(key.clone(), object, now),
            None => self.remove(key, now),
        }
    }

    /// Takes what the API server has said after all that is known was said. Should it be older than that, or gone, the API
    /// server was put back to a copy of its past.
    pub(super) fn is_so(&mut self, key: &Key, stored: &Stored) {
        let gone = self.gone.get(key);
        if gone.is_some_and(|gone| gone.uid == stored.uid) {
            self.gone.remove(key);
        }
        let before = self.there.get(key).map(|entry| &entry.object.stored);
        if before.is_some_and(|before| is_older(stored, before))
            && let Some(entry) = self.there.remove(key)
        {
            self.count(key, &entry.object.stored, -1);
        }
    }

    fn put(&mut self, key: Key, object: Object, now: Instant) {
        let gone = self.gone.get(&key);
        if gone.is_some_and(|gone| gone.uid == object.stored.uid) {
            return;
        }
        let entry = match self.there.get(&key) {
            None => Entry {
                again: gone.is_some(),
                since: now,
                object,
            },
            Some(before) => {
                let (old, new) = (&before.object.stored, &object.stored);
                if is_older(new, old) {
                    return;
                }
                let same = old.uid == new.uid;
                let is_reached_the_same = same && old.is_reached_as(&new.spec);
                Entry {
                    again: (before.again || !same) && new.readiness().status != Status::True,
                    since: if is_reached_the_same {
                        before.since
                    } else {
                        now
                    },
                    object,
                }
            }
        };
        self.count(&key, &entry.object.stored, 1);
        if let Some(before) = self.there.remove(&key) {
            self.count(&key, &before.object.stored, -1);
        }
        self.there.insert(key, entry);
    }

    fn count(&mut self, key: &Key, stored: &Stored, change: isize) {
        if !stored.ours {
            return;
        }
        let readiness = stored.readiness();
        let is_ready = readiness.status == Status::True;
        if !is_ready && readiness.reason != RECONFIGURING {
            return;
        }
        let group = (key.0.clone(), stored.spec.group.clone());
        let serving = self.groups.entry(group.clone()).or_default();
        let counted = if is_ready {
            &mut serving.ready
        } else {
            &mut serving.out
        };
        *counted = counted.saturating_add_signed(change);
        if *serving == Serving::default() {
            self.groups.remove(&group);
        }
    }

    fn remove(&mut self, key: &Key, now: Instant) {
        if let Some(entry) = self.there.remove(key) {
            self.count(key, &entry.object.stored, -1);
            let uid = entry.object.stored.uid;
            self.gone.insert(key.clone(), Gone { uid, at: now });
        }
    }
}

/// Versions of objects of one kind are numbers that rise.
pub(super) fn is_older(new: &Stored, old: &Stored) -> bool {
    let number = |stored: &Stored| stored.resource_version.parse::<u64>();
    match (number(new), number(old)) {
        (Ok(new), Ok(old)) => new < old,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
