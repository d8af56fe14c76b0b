//! What is to be told, once and as it is by then: of a workload that has changed twice only the newest is of interest.

use std::collections::{BTreeMap, BTreeSet};

use super::super::workloads::Workloads;
use super::Writer;
use crate::store::{Failure, Key, News, Stored};

/// What is to be told.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    all: bool,
    ones: BTreeSet<Key>,
    failed: BTreeMap<Key, (Failure, String)>,
    contested: BTreeSet<Key>,
}

// === impl Outbox ===

impl Outbox {
    pub(super) fn all(&mut self) {
        self.all = true;
    }

    pub(super) fn one(&mut self, key: Key) {
        if !self.all {
            self.ones.insert(key);
        }
    }

    /// What was told of `key`, or is about to be, is over.
    pub(super) fn recovered(&mut self, key: Key) {
        self.failed.remove(&key);
        // Not left out when all are told: there it could be one of them that is not there.
        self.ones.insert(key);
    }

    /// Somebody else writes `key` again and again.
    pub(super) fn contested(&mut self, key: Key) {
        self.contested.insert(key);
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.all && self.ones.is_empty() && self.failed.is_empty() && self.contested.is_empty()
    }

    pub(super) fn next(&mut self, workloads: &Workloads) -> Option<News> {
        if std::mem::take(&mut self.all) {
            let all = workloads.all();
            let all = all.map(|(key, stored)| (key.clone(), stored.clone()));
            return Some(News::All(all.collect()));
        }
        if let Some(key) = self.ones.pop_first() {
            return Some(match workloads.get(&key) {
                Some(entry) => News::One(key, Box::new(entry.object.stored.clone())),
                None => News::Gone(key),
            });
        }
        if let Some(key) = self.contested.pop_first() {
            return Some(News::Contested(key));
        }
        let (key, (failure, message)) = self.failed.pop_first()?;
        Some(News::Failed {
            key,
            failure,
            message,
        })
    }
}

// === impl Writer ===

impl Writer {
    /// What is there of `key` as it is told.
    pub(super) fn told(&self, key: &Key) -> Option<Stored> {
        let stored = &self.workloads.get(key)?.object.stored;
        Some(Stored {
            // Of no interest by itself.
            resource_version: String::new(),
            ..stored.clone()
        })
    }

    /// Tells of `key` when it is not as `before`.
    pub(super) fn changed(&mut self, key: &Key, before: Option<&Stored>) {
        if self.told(key).as_ref() != before {
            self.outbox.one(key.clone());
        }
    }

    /// Tells that `key` cannot be written, once.
    pub(super) fn fail(&mut self, key: &Key, failure: Failure, message: &str) {
        let Some(item) = self.wishes.get_mut(key) else {
            return;
        };
        if item.told != Some(failure) {
            item.told = Some(failure);
            let told = (failure, message.to_owned());
            self.outbox.failed.insert(key.clone(), told);
        }
    }

    /// Tells that none of those that wait can be written.
    pub(super) fn fail_all(&mut self) {
        let message = self.outlook.message().to_owned();
        for key in self.queue.keys().cloned().collect::<Vec<_>>() {
            self.fail(&key, Failure::Unavailable, &message);
        }
    }
}
