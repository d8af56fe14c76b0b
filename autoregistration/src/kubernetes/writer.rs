//! Makes wishes so: from what is wanted and what is there it finds the next step of each workload and lets it wait for
//! its turn. Never two calls for one workload at a time; the newest wish counts; nothing is given up. Pure: calls are
//! made by [`super::calls`], and time is told.

mod outlook;
mod tell;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, warn};

use super::drained::Drains;
use super::queue::Queue;
use super::step::{self, Seen, Step, Wait, Write};
use super::workload::Object;
use super::workloads::{Change, Workloads};
use crate::store::{Desired, Failure, Key, News, Status, Wish};
pub use outlook::Outlook;
use tell::Outbox;

/// From a new object, or a new address, until it may be ready: in that time all replicas of Linkerd's destination have
/// heard of it. They watch, so it takes them milliseconds.
const SETTLES: Duration = Duration::from_secs(1);
/// Waits of one workload whose write fails.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(30));
/// What is refused will be refused again until a person does something.
const REFUSED: Duration = Duration::from_secs(30);
/// A problem that repeats is said so often at first, then only to those who look closely.
const LOUD: u32 = 3;

/// What is wanted, what is there, and what is being done about it.
#[derive(Debug)]
pub struct Writer {
    workloads: Workloads,
    wishes: BTreeMap<Key, Item>,
    busy: BTreeMap<Key, Busy>,
    queue: Queue,
    drains: Drains,
    settling: BTreeSet<(Instant, Key)>,
    outlook: Outlook,
    outbox: Outbox,
    refusals: u32,
    /// How long readiness took from a wish to the API server's answer, since it was last asked.
    transitions: Vec<Duration>,
}

#[derive(Debug)]
struct Item {
    desired: Desired,
    /// When another readiness was wished for, until it is so.
    turns: Option<Instant>,
    /// What is known is not the newest.
    stale: bool,
    /// In a row.
    failures: u32,
    not_before: Option<Instant>,
    /// What was told of it.
    told: Option<Failure>,
}

#[derive(Debug)]
struct Busy {
    /// What a new description must lead to.
    wanted: Option<Desired>,
}

/// A call to the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Of which workload.
    pub key: Key,
    /// What.
    pub kind: Kind,
    /// When `Ready` last changed its status, where the call leaves the status as it is.
    pub since: Option<String>,
}

/// What a call does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Reads the object.
    Read,
    /// Writes it.
    Write(Write),
}

/// What a call has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is like this.
    There(Box<Object>),
    /// It is not there.
    Gone,
    /// It is not what the call was decided on.
    Conflict,
    /// It is refused.
    Refused(String),
    /// This one call has failed.
    Failed(String),
    /// The API server is away, or asks for patience for so long.
    Unavailable(String, Option<Duration>),
}

// === impl Writer ===

impl Writer {
    /// Knows of nothing yet.
    pub fn new(writes_per_second: u32, now: Instant) -> Self {
        Self {
            workloads: Workloads::default(),
            wishes: BTreeMap::new(),
            busy: BTreeMap::new(),
            queue: Queue::new(writes_per_second, now),
            drains: Drains::default(),
            settling: BTreeSet::new(),
            outlook: Outlook::default(),
            outbox: Outbox::default(),
            refusals: 0,
            transitions: Vec::new(),
        }
    }

    /// Takes an event of the watch; whether all workloads are known by it.
    pub fn watched(
        &mut self,
        event: kube::runtime::watcher::Event<kube::api::DynamicObject>,
        now: Instant,
    ) -> bool {
        use kube::runtime::watcher::Event;
        let before = match &event {
            Event::Apply(object) | Event::Delete(object) => {
                let metadata = &object.metadata;
                let key = (
                    metadata.namespace.clone().unwrap_or_default(),
                    metadata.name.clone().unwrap_or_default(),
                );
                self.told(&key)
            }
            _ => None,
        };
        match self.workloads.take(event, now) {
            Change::Nothing => false,
            Change::One(key) => {
                self.changed(&key, before.as_ref());
                self.evaluate(&key, now);
                false
            }
            Change::All => {
                self.outbox.all();
                for key in self.wishes.keys().cloned().collect::<Vec<_>>() {
                    self.evaluate(&key, now);
                }
                true
            }
        }
    }

    /// Takes a wish.
    pub fn wish(&mut self, wish: Wish, now: Instant) {
        let Wish { key, desired } = wish;
        let Some(desired) = desired else {
            self.wishes.remove(&key);
            self.evaluate(&key, now);
            return;
        };
        let before = self.wishes.get(&key);
        if before.is_some_and(|item| item.desired == desired) {
            return;
        }
        let turns = match before {
            Some(before) if before.desired.status() == desired.status() => before.turns,
            _ => Some(now),
        };
        let item = Item {
            desired,
            turns,
            stale: before.is_some_and(|before| before.stale),
            failures: 0,
            not_before: None,
            told: before.and_then(|before| before.told),
        };
        self.wishes.insert(key.clone(), item);
        self.evaluate(&key, now);
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Instant) {
        while let Some((moment, key)) = self.settling.pop_first() {
            if moment > now {
                self.settling.insert((moment, key));
                break;
            }
            self.evaluate(&key, now);
        }
        for key in self.drains.drained(now) {
            self.evaluate(&key, now);
        }
    }

    /// The next call to make. For each an answer must come.
    pub fn next(&mut self, now: Instant) -> Option<Call> {
        while self.outlook.allows(self.queue.under_way(), now) {
            let key = self.queue.take(now)?;
            if let Some(call) = self.call(&key, now) {
                let wanted = match (&call.kind, self.wishes.get(&key)) {
                    (Kind::Write(Write::Create(_) | Write::Apply(..)), Some(item)) => {
                        Some(item.desired.clone())
                    }
                    _ => None,
                };
                self.busy.insert(key, Busy { wanted });
                return Some(call);
            }
            self.queue.ended();
        }
        None
    }

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
                self.workloads.answered(key, Some(*object), now);
                self.succeeded(key, kind, now);
                refused = self.is_kept_otherwise(key, busy);
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

    /// The namespaces whose `EndpointSlice`s are to be listed now. For each an answer must come.
    pub fn ask(&mut self, now: Instant) -> Vec<String> {
        self.drains.ask(now)
    }

    /// Takes the names of the workloads that have ready endpoints in `namespace`; `None` when nobody knows.
    pub fn listed(&mut self, namespace: &str, ready: Option<&BTreeSet<String>>, now: Instant) {
        self.drains.answered(namespace, ready, now);
    }

    /// When something is to be done by the passing of time alone.
    pub fn wake(&self, now: Instant) -> Option<Instant> {
        let queue = self.queue.wake(now);
        // A call that is under way will tell.
        let queue = queue.and_then(|at| self.outlook.wake(at, self.queue.under_way()));
        let settled = self.settling.first().map(|(moment, _)| *moment);
        let drained = self.drains.wake(now);
        [queue, settled, drained].into_iter().flatten().min()
    }

    /// What is to be told next.
    pub fn news(&mut self) -> Option<News> {
        self.outbox.next(&self.workloads)
    }

    /// Whether something is to be told.
    pub fn has_news(&self) -> bool {
        !self.outbox.is_empty()
    }

    /// Workloads that wait for a write, and how long the first of them does.
    pub fn waiting(&self, now: Instant) -> (usize, Duration) {
        (self.queue.len(), self.queue.age(now))
    }

    /// Whether the API server answers.
    pub fn is_available(&self) -> bool {
        !self.outlook.is_dark()
    }

    /// How long readiness took from the wish to the API server's answer, of those that have come since the last call.
    pub fn transitions(&mut self) -> Vec<Duration> {
        std::mem::take(&mut self.transitions)
    }

    /// What has to be done for `key` now, and lets it wait for that.
    fn evaluate(&mut self, key: &Key, now: Instant) {
        if self.busy.contains_key(key) {
            // The answer comes first.
            return;
        }
        let step = self.step(key, now);
        let Some(item) = self.wishes.get_mut(key) else {
            self.queue.remove(key);
            return;
        };
        match step {
            Step::Write { lane, .. } => {
                let not_before = item.not_before;
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
                // Whoever wishes it gone has to hear that it is, also when it never was.
                let is_gone = matches!(item.desired, Desired::Gone { .. })
                    && self.workloads.get(key).is_none();
                if item.told.take().is_some() || is_gone {
                    self.outbox.recovered(key.clone());
                }
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

    fn call(&mut self, key: &Key, now: Instant) -> Option<Call> {
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

    /// Why what was just applied did not come to be. It would be applied again and again.
    fn is_kept_otherwise(&self, key: &Key, busy: Option<Busy>) -> Option<String> {
        let Desired::Present { spec, .. } = busy?.wanted? else {
            return None;
        };
        let there = &self.workloads.get(key)?.object.stored;
        let is_other = !there.deleting && !there.holds(&spec);
        is_other.then(|| {
            "the API server keeps something else than what was applied: is there an admission webhook that changes it?".to_owned()
        })
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

// === impl Desired ===

impl Desired {
    /// The readiness that counts.
    fn status(&self) -> Status {
        match self {
            Self::Present { ready, .. } | Self::Marked { ready, .. } | Self::Gone { ready, .. } => {
                ready.status
            }
        }
    }

    fn is_ready(&self) -> bool {
        self.status() == Status::True && !matches!(self, Self::Gone { .. })
    }
}

// === impl Kind ===

impl Kind {
    /// For metrics and people.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write(Write::Create(_)) => "create",
            Self::Write(Write::Apply(..)) => "apply",
            Self::Write(Write::Mark(..)) => "status",
            Self::Write(Write::Delete(_)) => "delete",
        }
    }
}

fn backoff(failures: u32) -> Duration {
    let (least, most) = BACKOFF;
    let wait = least
        .saturating_mul(2_u32.saturating_pow(failures))
        .min(most);
    // Half of it is chance, so that those who failed together do not come again together.
    wait.mul_f64(0.5 + rand::random::<f64>() / 2.0)
}

#[cfg(test)]
mod tests;
