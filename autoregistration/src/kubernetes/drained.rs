//! Whether Linkerd has heard that workloads are not ready: none of the `EndpointSlice`s that its controller writes has a
//! ready endpoint of theirs any more.
//!
//! Asked once a second and for a whole namespace, while somebody waits. What streams from Linkerd's replicas to proxies
//! comes a little later than the slices.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::api::discovery::v1::EndpointSlice;
use tokio::time::Instant;

use crate::store::Key;

/// Label of the slices that Linkerd's controller writes.
pub const SLICES: &str =
    "endpointslice.kubernetes.io/managed-by=linkerd-external-workloads-controller";
/// Between two lists of a namespace.
const EVERY: Duration = Duration::from_secs(1);
/// From the slices to the proxies.
const ON_ITS_WAY: Duration = Duration::from_secs(1);
/// Linkerd's controller may be gone, or have much to do. It is not waited for longer.
const PATIENCE: Duration = Duration::from_secs(15);
const KIND: &str = "ExternalWorkload";

/// Those that wait.
#[derive(Debug, Default)]
pub struct Drains {
    waiting: BTreeMap<Key, Drain>,
    /// Nothing has come before this.
    next: Option<Instant>,
    namespaces: BTreeMap<String, Asked>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Drain {
    since: Instant,
    /// Since when it is out of the slices.
    out: Option<Instant>,
    /// Whether it was told that it has come.
    told: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Asked {
    at: Instant,
    under_way: bool,
}

// === impl Drains ===

impl Drains {
    /// Waits for `key`, which is not ready since `now` at the latest.
    pub fn wait(&mut self, key: &Key, now: Instant) {
        let drain = Drain {
            since: now,
            out: None,
            told: false,
        };
        let drain = self.waiting.entry(key.clone()).or_insert(drain);
        let until = drain.until();
        self.next = self.next.into_iter().chain([until]).min();
    }

    /// Nobody waits for `key`.
    pub fn forget(&mut self, key: &Key) {
        self.waiting.remove(key);
    }

    /// Whether what `key` waited for has come.
    pub fn is_drained(&self, key: &Key, now: Instant) -> bool {
        self.waiting.get(key).is_some_and(|it| it.until() <= now)
    }

    /// Those for which it has come, each once.
    pub fn drained(&mut self, now: Instant) -> Vec<Key> {
        if self.next.is_none_or(|next| next > now) {
            return Vec::new();
        }
        let mut drained = Vec::new();
        self.next = None;
        for (key, drain) in &mut self.waiting {
            if drain.told {
                continue;
            }
            let until = drain.until();
            if until <= now {
                drain.told = true;
                drained.push(key.clone());
            } else {
                self.next = self.next.into_iter().chain([until]).min();
            }
        }
        drained
    }

    /// The namespaces to be asked now. For each an answer must come.
    pub fn ask(&mut self, now: Instant) -> Vec<String> {
        let unsure = self.waiting.iter().filter(|(_, it)| it.out.is_none());
        let wanted: BTreeSet<&String> = unsure.map(|((namespace, _), _)| namespace).collect();
        self.namespaces
            .retain(|namespace, asked| asked.under_way || wanted.contains(namespace));
        let mut due = Vec::new();
        for namespace in wanted {
            let asked = self.namespaces.get(namespace);
            if asked.is_none_or(|asked| !asked.under_way && asked.at + EVERY <= now) {
                due.push(namespace.clone());
            }
        }
        for namespace in &due {
            let asked = Asked {
                at: now,
                under_way: true,
            };
            self.namespaces.insert(namespace.clone(), asked);
        }
        due
    }

    /// The names that still have a ready endpoint in `namespace`, as asked; `None` when nothing is known.
    pub fn answered(&mut self, namespace: &str, ready: Option<&BTreeSet<String>>, now: Instant) {
        let Some(asked) = self.namespaces.get_mut(namespace) else {
            return;
        };
        asked.under_way = false;
        let asked = asked.at;
        let Some(ready) = ready else {
            return;
        };
        for ((of, name), drain) in &mut self.waiting {
            // What was asked before says nothing.
            if of == namespace && drain.since <= asked && !ready.contains(name) {
                drain.out = drain.out.or(Some(now));
                let until = drain.until();
                self.next = self.next.into_iter().chain([until]).min();
            }
        }
    }

    /// When time alone changes an answer.
    pub fn wake(&self, now: Instant) -> Option<Instant> {
        let ask = |namespace: &String| match self.namespaces.get(namespace) {
            Some(asked) if asked.under_way => None,
            Some(asked) => Some((asked.at + EVERY).max(now)),
            None => Some(now),
        };
        let waiting = self.waiting.iter();
        let moments = waiting.flat_map(|((namespace, _), drain)| {
            let ask = drain.out.is_none().then(|| ask(namespace)).flatten();
            // One that is past has been told.
            let until = Some(drain.until()).filter(|moment| *moment > now);
            ask.into_iter().chain(until)
        });
        moments.min()
    }
}

// === impl Drain ===

impl Drain {
    fn until(&self) -> Instant {
        self.out.unwrap_or(self.since + PATIENCE) + ON_ITS_WAY
    }
}

/// Names of the workloads that have a ready endpoint.
pub fn ready(slices: &[EndpointSlice]) -> BTreeSet<String> {
    let endpoints = slices
        .iter()
        .flat_map(|slice| slice.endpoints.iter().flatten());
    let ready = endpoints.filter(|endpoint| {
        let conditions = endpoint.conditions.as_ref();
        // Nothing said means ready.
        conditions.and_then(|it| it.ready).unwrap_or(true)
    });
    let targets = ready.filter_map(|endpoint| endpoint.target_ref.as_ref());
    let ours = targets.filter(|target| target.kind.as_deref() == Some(KIND));
    ours.filter_map(|target| target.name.clone()).collect()
}

#[cfg(test)]
mod tests;
