//! VMs that were let in while a replica could not be asked whether it has them. Asked again until all have answered, some
//! at a time: when a cut is mended, nobody waits for all of them.

use std::collections::BTreeMap;
use std::time::Duration;

use super::StreamId;

/// Until the others are asked again.
const AGAIN: Duration = Duration::from_secs(10);
/// Between two questions.
const BETWEEN: Duration = Duration::from_millis(20);

/// Streams of such VMs.
#[derive(Debug, Default)]
pub(super) struct Unheard {
    /// When the others are asked again; `None` while they are.
    streams: BTreeMap<StreamId, Option<Duration>>,
    last: Duration,
}

// === impl Unheard ===

impl Unheard {
    pub(super) fn add(&mut self, stream: StreamId, now: Duration) {
        let at = now.saturating_add(AGAIN);
        self.last = at.max(self.last.saturating_add(BETWEEN));
        self.streams.insert(stream, Some(self.last));
    }

    /// Takes note of an answer; whether one was waited for.
    pub(super) fn answered(&mut self, stream: StreamId) -> bool {
        let waits = self.streams.get(&stream) == Some(&None);
        if waits {
            self.streams.remove(&stream);
        }
        waits
    }

    pub(super) fn forget(&mut self, stream: StreamId) {
        self.streams.remove(&stream);
    }

    /// Those for which the others are to be asked now. An answer must come for each.
    pub(super) fn take(&mut self, now: Duration) -> Vec<StreamId> {
        let mut due = Vec::new();
        for (stream, at) in &mut self.streams {
            if at.is_some_and(|at| at <= now) {
                *at = None;
                due.push(*stream);
            }
        }
        due
    }

    /// When the next of them is due.
    pub(super) fn due(&self) -> Option<Duration> {
        self.streams.values().flatten().min().copied()
    }
}
