//! The groups that are known, made of the events of a watch. Pure: what is in, what is refused and why.
//!
//! A group that cannot be taken disturbs no other one. One that could be taken before stays as it was: its VMs keep
//! what they have while a person mends it.

use std::collections::BTreeMap;

use kube::api::DynamicObject;
use kube::runtime::watcher::Event;

use super::scope::{Awaited, Part, Scope};
use super::status::Shown;
use crate::manifests::{self, FieldProblem, Group, Manifests};

/// Namespace and name.
pub type Key = (String, String);

/// A group that cannot be taken, or not as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Of which object.
    pub uid: String,
    /// In which of its generations.
    pub generation: Option<i64>,
    /// Why.
    pub problems: Vec<FieldProblem>,
    /// Whether VMs still get what an earlier generation said.
    pub kept: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    groups: BTreeMap<Key, Entry>,
    /// What a list has brought so far. It counts when it is complete: a group that is still to come is not gone.
    listed: BTreeMap<Key, Entry>,
    awaited: Awaited,
    scope: Scope,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    uid: String,
    /// The last that could be taken.
    group: Option<Group>,
    refused: Option<Refused>,
    shown: Shown,
}

// === impl Known ===

impl Known {
    /// Nothing is known yet of what is in `scope`.
    pub(super) fn new(scope: &Scope) -> Self {
        Self {
            awaited: Awaited::new(scope),
            scope: scope.clone(),
            ..Self::default()
        }
    }

    /// Takes an event of the watch of `part`; `true` when all groups are known after it.
    pub(super) fn take(&mut self, part: &Part, event: Event<DynamicObject>) -> bool {
        match event {
            Event::Init => {
                self.listed.retain(|key, _| !part.has(&key.0));
                return false;
            }
            Event::InitApply(object) => {
                let (key, entry) = self.read(&object);
                self.listed.insert(key, entry);
                return false;
            }
            Event::InitDone => {
                self.groups.retain(|key, _| !part.has(&key.0));
                let listed = std::mem::take(&mut self.listed).into_iter();
                let (came, rest): (BTreeMap<_, _>, _) =
                    listed.partition(|(key, _)| part.has(&key.0));
                self.groups.extend(came);
                self.listed = rest;
                self.awaited.came(part);
            }
            Event::Apply(object) => {
                let (key, entry) = self.read(&object);
                self.groups.insert(key, entry);
            }
            Event::Delete(object) => {
                self.groups.remove(&key(&object));
            }
        }
        self.awaited.is_over()
    }

    pub(super) fn manifests(&self) -> Manifests {
        let taken = self.groups.iter().filter_map(|(key, entry)| {
            let group = entry.group.clone()?;
            Some((key.clone(), group))
        });
        let unreadable = self
            .groups
            .iter()
            .filter(|(_, entry)| entry.group.is_none());
        Manifests {
            groups: taken.collect(),
            unreadable: unreadable.map(|(key, _)| key.clone()).collect(),
            watched: self.scope.namespaces().clone(),
            ..Manifests::default()
        }
    }

    pub(super) fn refused(&self) -> BTreeMap<Key, Refused> {
        let refused = self.groups.iter().filter_map(|(key, entry)| {
            let refused = entry.refused.clone()?;
            Some((key.clone(), refused))
        });
        refused.collect()
    }

    pub(super) fn shown(&self) -> BTreeMap<Key, Shown> {
        let shown = self.groups.iter();
        shown
            .map(|(key, entry)| (key.clone(), entry.shown.clone()))
            .collect()
    }

    fn read(&self, object: &DynamicObject) -> (Key, Entry) {
        let key = key(object);
        let shown = Shown::read(object);
        let uid = object.metadata.uid.clone().unwrap_or_default();
        let read = serde_norway::to_value(object)
            .map_err(|error| {
                vec![FieldProblem {
                    field: String::new(),
                    message: format!("cannot be read: {error}"),
                }]
            })
            .and_then(|value| manifests::group(&value));
        let entry = match read {
            Ok(group) => Entry {
                group: Some(Group {
                    uid: uid.clone(),
                    generation: object.metadata.generation.unwrap_or_default(),
                    edition: edition(object),
                    deleting: object.metadata.deletion_timestamp.is_some(),
                    ..group
                }),
                uid,
                refused: None,
                shown,
            },
            Err(problems) => {
                let before = self.groups.get(&key).filter(|entry| entry.uid == uid);
                let group = before.and_then(|entry| entry.group.clone());
                Entry {
                    refused: Some(Refused {
                        uid: uid.clone(),
                        generation: object.metadata.generation,
                        problems,
                        kept: group.is_some(),
                    }),
                    uid,
                    group,
                    shown,
                }
            }
        };
        (key, entry)
    }
}

/// Seconds of its creation, and in the lower 24 bits its generation.
fn edition(object: &DynamicObject) -> i64 {
    let created = object.metadata.creation_timestamp.as_ref();
    let created = created.map_or(0, |time| time.0.as_second());
    let generation = object.metadata.generation.unwrap_or_default();
    (created << 24) + generation.clamp(0, (1 << 24) - 1)
}

fn key(object: &DynamicObject) -> Key {
    let metadata = &object.metadata;
    (
        metadata.namespace.clone().unwrap_or_default(),
        metadata.name.clone().unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests;
