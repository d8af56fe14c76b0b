//! A store that forgets everything with the process. It has no clock of its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{Desired, Key, News, Ready, Spec, Status, Stored, Wish};
use crate::registry::name;

/// Between "not ready" and removal, so that those who send to it stop first.
const LEAVE_VIEW: Duration = Duration::from_secs(1);

/// The store.
#[derive(Debug, Default)]
pub struct Memory {
    objects: BTreeMap<Key, Object>,
}

#[derive(Debug)]
struct Object {
    stored: Stored,
    /// Since when it has not been ready, and how often it was changed.
    unready_since: Duration,
    version: u64,
    removal: Option<Duration>,
}

// === impl Memory ===

impl Memory {
    /// Carries out a wish at the time `now`.
    pub fn wish(&mut self, now: Duration, wish: Wish) -> Vec<News> {
        let key = wish.key;
        match wish.desired {
            Some(Desired::Present { spec, ready }) => self.put(now, key, &spec, ready),
            Some(Desired::Marked { ready, .. }) => self.mark(now, key, ready, None),
            Some(Desired::Gone { ready, .. }) => {
                let news = self.mark(now, key, ready, Some(LEAVE_VIEW));
                news.into_iter().chain(self.remove(now)).collect()
            }
            None => {
                if let Some(object) = self.objects.get_mut(&key) {
                    object.removal = None;
                }
                Vec::new()
            }
        }
    }

    /// When something is to be removed next.
    pub fn due(&self) -> Option<Duration> {
        self.objects
            .values()
            .filter_map(|object| object.removal)
            .min()
    }

    /// Removes what is due at the time `now`.
    pub fn remove(&mut self, now: Duration) -> Vec<News> {
        let due = |object: &Object| object.removal.is_some_and(|removal| removal <= now);
        let gone = self.objects.iter().filter(|(_, object)| due(object));
        let gone = gone.map(|(key, _)| key.clone()).collect::<Vec<_>>();
        gone.into_iter()
            .map(|key| {
                self.objects.remove(&key);
                News::Gone(key)
            })
            .collect()
    }

    fn put(&mut self, now: Duration, key: Key, spec: &Arc<Spec>, ready: Ready) -> Vec<News> {
        let object = self.objects.entry(key.clone()).or_insert_with(|| Object {
            stored: Stored {
                // Derived, so that a restart of ours makes no new one.
                uid: name::uid("workload", &spec.fingerprint),
                resource_version: String::new(),
                ours: true,
                deleting: false,
                applied: String::new(),
                spec: Spec::default(),
                ready: None,
            },
            unready_since: now,
            version: 0,
            removal: None,
        });
        object.removal = None;
        object.stored.applied = spec.hash();
        object.stored.spec = Spec::clone(spec);
        object.set(now, ready);
        vec![object.news(key)]
    }

    fn mark(
        &mut self,
        now: Duration,
        key: Key,
        ready: Ready,
        leave: Option<Duration>,
    ) -> Vec<News> {
        let Some(object) = self.objects.get_mut(&key) else {
            return leave.map(|_| News::Gone(key)).into_iter().collect();
        };
        object.set(now, ready);
        object.removal = leave.map(|leave| object.unready_since.saturating_add(leave).max(now));
        vec![object.news(key)]
    }
}

// === impl Object ===

impl Object {
    fn set(&mut self, now: Duration, ready: Ready) {
        let was = self.stored.ready.as_ref().map(|ready| ready.status);
        if was == Some(Status::True) && ready.status != Status::True {
            self.unready_since = now;
        }
        self.stored.ready = Some(ready);
    }

    fn news(&mut self, key: Key) -> News {
        self.version += 1;
        self.stored.resource_version = self.version.to_string();
        News::One(key, Box::new(self.stored.clone()))
    }
}
