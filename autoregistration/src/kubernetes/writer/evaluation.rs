//! What is to be done for a workload now, found anew whenever something about it has changed.

use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use super::super::step::{self, Seen, Step, Wait, Write};
use super::fights::Back;
use super::{Call, Kind, Writer};
use crate::store::{Desired, Failure, Key};

/// From a new object, or a new address, until it may be ready: in that time all replicas of Linkerd's destination have
/// heard of it. They watch, so it takes them milliseconds.
const SETTLES: Duration = Duration::from_secs(1);

// === impl Writer ===

impl Writer {
    /// What has to be done for `key` now, and lets it wait for that.
    pub(super) fn evaluate(&mut self, key: &Key, now: Instant) {
        self.evaluate_one(key, now);
        // What has become of this one may be what others have waited for.
        while let Some(next) = self.turns.next(&self.workloads) {
            self.evaluate_one(&next, now);
        }
    }

    fn evaluate_one(&mut self, key: &Key, now: Instant) {
        if self.busy.contains_key(key) {
            // The answer comes first.
            return;
        }
        let step = self.step(key, now);
        let has_turn = self.has_turn(key, &step);
        self.calm_down(key, &step, now);
        let Some(item) = self.wishes.get_mut(key) else {
            self.queue.remove(key);
            return;
        };
        match step {
            Step::Write { .. } if !has_turn => self.queue.remove(key),
            Step::Write { lane, .. } => {
                let not_before = item.not_before.max(item.calm);
                self.queue.put(key, lane, not_before, now);
                if self.outlook.is_dark() {
                    let message = self.outlook.message().to_owned();
                    self.fail(key, Failure::Unavailable, &message);
                }
            }
            Step::Wait(wait) => {
                self.queue.remove(key);
                if wait == Wait::Settled
                    && let Some(entry) = self.workloads.get(key)
                    && !entry.again
                {
                    self.settling.insert((entry.since + SETTLES, key.clone()));
                }
            }
            Step::Foreign => {
                self.queue.remove(key);
                self.fail(
                    key,
                    Failure::Foreign,
                    "an ExternalWorkload of that name is not ours",
                );
            }
            Step::Nothing => {
                self.queue.remove(key);
                item.turns = None;
                item.done = true;
                // Whoever wishes it gone has to hear that it is, also when it never was.
                let is_gone = matches!(item.desired, Desired::Gone { .. })
                    && self.workloads.get(key).is_none();
                if item.told.take().is_some() || is_gone {
                    self.outbox.recovered(key.clone());
                }
            }
        }
    }

    /// Lets a step wait that only puts back what somebody else undoes again and again.
    fn calm_down(&mut self, key: &Key, step: &Step, now: Instant) {
        let Some(item) = self.wishes.get_mut(key) else {
            return;
        };
        if !matches!(step, Step::Write { .. }) || !std::mem::take(&mut item.done) {
            return;
        }
        let back = self.fights.undone(key, now);
        item.calm = match back {
            Back::Now => None,
            Back::FirstPause(until) | Back::Pause(until) => Some(until),
        };
        if let Back::FirstPause(_) = back {
            warn!(
                namespace = key.0,
                workload = key.1,
                "somebody changes this workload whenever it is put right, it is put right less and less often"
            );
            self.outbox.contested(key.clone());
        }
    }

    /// Whether the step may be taken, as far as the other workloads of its group are concerned.
    fn has_turn(&mut self, key: &Key, step: &Step) -> bool {
        match self.workloads.get(key) {
            Some(entry) if step::takes_one_out(step) => {
                let group = (key.0.clone(), entry.object.stored.spec.group.clone());
                self.turns.ask(key, group, &self.workloads)
            }
            _ => {
                self.turns.forget(key);
                true
            }
        }
    }

    fn step(&mut self, key: &Key, now: Instant) -> Step {
        let (Some(item), entry) = (self.wishes.get(key), self.workloads.get(key)) else {
            self.drains.forget(key);
            return Step::Nothing;
        };
        let there = entry.map(|entry| &entry.object.stored);
        // One that was made again is settled when its predecessor has left the slices, which go by the name.
        let follows = entry.is_some_and(|entry| entry.again) && item.desired.is_ready();
        if follows || there.is_some_and(|there| step::needs_drain(&item.desired, there)) {
            self.drains.wait(key, now);
        } else {
            self.drains.forget(key);
        }
        let drained = self.drains.is_drained(key, now);
        let settled = match entry {
            Some(entry) if entry.again => drained,
            Some(entry) => entry.since + SETTLES <= now,
            None => false,
        };
        step::next(&item.desired, there, Seen { drained, settled })
    }

    pub(super) fn call(&mut self, key: &Key, now: Instant) -> Option<Call> {
        let step = self.step(key, now);
        let item = self.wishes.get(key)?;
        let kind = match step {
            Step::Write { .. } if item.stale => Kind::Read,
            Step::Write { write, .. } => Kind::Write(write),
            _ => return None,
        };
        let since = match (&kind, self.workloads.get(key)) {
            (Kind::Write(Write::Mark(_, ready)), Some(entry)) => {
                let status = entry.object.stored.ready.as_ref().map(|it| it.status);
                let stays = status == Some(ready.status);
                entry.object.since.clone().filter(|_| stays)
            }
            _ => None,
        };
        let key = key.clone();
        Some(Call { key, kind, since })
    }
}
