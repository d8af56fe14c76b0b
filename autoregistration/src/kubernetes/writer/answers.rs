//! What the answer to a call means for the workload that it was about.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, warn};

use super::super::step::Write;
use super::super::workload::Version;
use super::super::workloads;
use super::{Answer, Busy, Kind, LOUD, Writer};
use crate::store::{Desired, Failure, Key, Spec, Stored};

/// Waits of one workload whose write fails.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(30));
/// What is refused will be refused again until a person does something.
pub(super) const REFUSED: Duration = Duration::from_secs(30);

// === impl Writer ===

impl Writer {
    /// Takes the answer to a call.
    pub fn answered(&mut self, key: &Key, kind: &Kind, answer: Answer, now: Instant) {
        self.queue.ended();
        let busy = self.busy.remove(key);
        match &answer {
            Answer::Unavailable(message, wait) => {
                self.outlook.darken(message, *wait, now);
            }
            _ => self.outlook.brighten(),
        }
        let before = self.told(key);
        let mut refused = None;
        match answer {
            Answer::There(object) => {
                if *kind == Kind::Read && self.is_of_the_past(key, &object.stored, busy.as_ref()) {
                    self.workloads.is_so(key, &object.stored);
                    self.astray = true;
                }
                let (answered, wanted) = (Version::of(&object.stored), busy.and_then(wanted));
                refused = wanted
                    .as_ref()
                    .and_then(|spec| kept_otherwise(&object.stored, spec));
                self.workloads.answered(key, Some(*object), now);
                self.succeeded(key, kind, now);
                if wanted.is_some() && refused.is_none() {
                    self.overtaken(key, &answered);
                }
            }
            Answer::Gone => {
                self.workloads.answered(key, None, now);
                self.succeeded(key, kind, now);
            }
            Answer::Conflict => {
                if let Some(item) = self.wishes.get_mut(key) {
                    item.stale = true;
                    // The first time it is only read anew.
                    if item.failures > 0 {
                        item.not_before = Some(now + backoff(item.failures));
                    }
                    item.failures = item.failures.saturating_add(1);
                }
            }
            Answer::Refused(message) => refused = Some(message),
            Answer::Failed(message) => {
                if let Some(item) = self.wishes.get_mut(key) {
                    item.not_before = Some(now + backoff(item.failures));
                    item.failures = item.failures.saturating_add(1);
                }
                debug!(
                    namespace = key.0,
                    workload = key.1,
                    ?kind,
                    message,
                    "call failed"
                );
                self.fail(key, Failure::Unavailable, &message);
            }
            Answer::Unavailable(..) => {}
        }
        if let Some(message) = refused {
            self.refused(key, kind, &message, now);
        }
        self.changed(key, before.as_ref());
        self.evaluate(key, now);
        if self.outlook.is_dark() {
            self.fail_all();
        }
    }

    fn succeeded(&mut self, key: &Key, kind: &Kind, now: Instant) {
        let Some(item) = self.wishes.get_mut(key) else {
            return;
        };
        item.stale = false;
        item.failures = 0;
        item.not_before = None;
        let there = self.workloads.get(key).map(|entry| &entry.object.stored);
        let is_so = there.is_some_and(|it| it.readiness().status == item.desired.status());
        if is_so
            && let Some(since) = item.turns.take()
            && matches!(kind, Kind::Write(Write::Mark(..)))
        {
            self.transitions.push(now.saturating_duration_since(since));
        }
    }

    /// Whether what was read is older than what was known when it was asked for.
    fn is_of_the_past(&self, key: &Key, read: &Stored, busy: Option<&Busy>) -> bool {
        let known = self.workloads.get(key).map(|entry| &entry.object.stored);
        let asked_of = busy.and_then(|busy| busy.known.as_ref());
        known.is_some_and(|known| {
            asked_of == Some(&Version::of(known)) && workloads::is_older(read, known)
        })
    }

    /// What was just applied came to be. Where a later state is known already, somebody has changed it before its answer
    /// was here, and what follows puts it back.
    fn overtaken(&mut self, key: &Key, answered: &Version) {
        let known = self.workloads.get(key).map(|entry| &entry.object.stored);
        if known.is_some_and(|known| Version::of(known) != *answered)
            && let Some(item) = self.wishes.get_mut(key)
        {
            item.done = true;
        }
    }

    fn refused(&mut self, key: &Key, kind: &Kind, message: &str, now: Instant) {
        if let Some(item) = self.wishes.get_mut(key) {
            item.not_before = Some(now + REFUSED.mul_f64(0.5 + rand::random::<f64>()));
        }
        self.refusals = self.refusals.saturating_add(1);
        let (namespace, workload, operation) = (&key.0, &key.1, kind.name());
        if self.refusals <= LOUD {
            warn!(
                namespace,
                workload,
                operation,
                error = message,
                "the API server refuses a write"
            );
        } else {
            debug!(
                namespace,
                workload,
                operation,
                error = message,
                "the API server refuses a write"
            );
        }
        self.fail(key, Failure::Refused, message);
    }
}

/// The spec that was applied.
fn wanted(busy: Busy) -> Option<Arc<Spec>> {
    match busy.wanted? {
        Desired::Present { spec, .. } => Some(spec),
        Desired::Marked { .. } | Desired::Gone { .. } => None,
    }
}

/// Why what was just applied did not come to be. It would be applied again and again.
fn kept_otherwise(answer: &Stored, wanted: &Spec) -> Option<String> {
    let is_other = !answer.deleting && !answer.holds(wanted);
    is_other.then(|| {
        "the API server keeps something else than what was applied: is there an admission webhook that changes it?".to_owned()
    })
}

pub(super) fn backoff(failures: u32) -> Duration {
    let (least, most) = BACKOFF;
    let wait = least
        .saturating_mul(2_u32.saturating_pow(failures))
        .min(most);
    // Half of it is chance, so that those who failed together do not come again together.
    wait.mul_f64(0.5 + rand::random::<f64>() / 2.0)
}
