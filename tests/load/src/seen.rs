//! What the simulated harnesses have seen, all of them together.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::latency::Latencies;

/// What all have seen; clones count together.
#[derive(Clone, Debug, Default)]
pub struct Seen(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    counts: Counts,
    /// From the first `Hello` of a VM to its first assignment.
    joins: Vec<Duration>,
    /// From a report of another state to its acknowledgement as persisted.
    flips: Vec<Duration>,
}

/// How often things have happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// `Hello`s said.
    pub hellos: u64,
    /// Streams that were assigned a workload.
    pub assigned: u64,
    /// VMs whose newest report is persisted.
    pub settled: u64,
    /// Orders that were given to VMs, and those that they have obeyed.
    pub orders: [u64; 2],
    /// VMs that have an assigned stream at this moment.
    pub open: u64,
    /// Heartbeats that were answered.
    pub heartbeats: u64,
    /// Heartbeats of the controller that we have answered.
    pub questions: u64,
    /// Acknowledged reports: persisted, queued, stale.
    pub acks: [u64; 3],
    /// Times that one was asked to wait on the open stream, by reason.
    pub pending: BTreeMap<String, u64>,
    /// Times that one was asked to go elsewhere, by reason.
    pub sent_away: BTreeMap<String, u64>,
    /// Streams that were refused or ended, by reason.
    pub refused: BTreeMap<String, u64>,
}

// === impl Seen ===

impl Seen {
    /// How often things have happened up to now.
    pub fn counts(&self) -> Counts {
        self.with(|state| state.counts.clone())
    }

    /// From the first `Hello` of a VM to its first assignment.
    pub fn joins(&self) -> Latencies {
        self.with(|state| state.joins.iter().copied().collect())
    }

    /// From a report of another state to its acknowledgement as persisted, since this was last asked.
    pub fn take_flips(&self) -> Latencies {
        self.with(|state| std::mem::take(&mut state.flips).into_iter().collect())
    }

    pub(crate) fn count(&self, count: impl FnOnce(&mut Counts)) {
        self.with(|state| count(&mut state.counts));
    }

    pub(crate) fn joined(&self, after: Duration) {
        self.with(|state| state.joins.push(after));
    }

    pub(crate) fn flipped(&self, after: Duration) {
        self.with(|state| state.flips.push(after));
    }

    fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// One more of `reason`.
pub(crate) fn one_more(counts: &mut BTreeMap<String, u64>, reason: &str) {
    match counts.get_mut(reason) {
        Some(count) => *count += 1,
        None => drop(counts.insert(reason.to_owned(), 1)),
    }
}
