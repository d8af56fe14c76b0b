//! Makes wishes so: from what is wanted and what is there it finds the next step of each workload and lets it wait for
//! its turn. Never two calls for one workload at a time; the newest wish counts; nothing is given up. Pure: calls are
//! made by [`super::calls`], and time is told.

mod answers;
mod evaluation;
mod fights;
mod outlook;
mod tell;
mod turns;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use super::drained::Drains;
use super::queue::Queue;
use super::scope::{Part, Scope};
use super::step::Write;
use super::workload::{Object, Version};
use super::workloads::{Change, Workloads};
use crate::store::{Desired, Failure, Key, News, Status, Wish};
use fights::Fights;
pub use outlook::Outlook;
use tell::Outbox;
use turns::Turns;

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
    turns: Turns,
    fights: Fights,
    outlook: Outlook,
    outbox: Outbox,
    refusals: u32,
    /// Whether the watch knows what is not so any more.
    astray: bool,
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
    /// It was as it is wished for, so that whatever is to be done again was undone by somebody else.
    done: bool,
    /// What somebody else has undone is put back then.
    calm: Option<Instant>,
    /// What was told of it.
    told: Option<Failure>,
}

#[derive(Debug)]
struct Busy {
    /// What a new description must lead to.
    wanted: Option<Desired>,
    /// What was known of it when the call was made.
    known: Option<Version>,
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
    pub fn new(scope: &Scope, writes_per_second: u32, now: Instant) -> Self {
        Self {
            workloads: Workloads::new(scope),
            wishes: BTreeMap::new(),
            busy: BTreeMap::new(),
            queue: Queue::new(writes_per_second, now),
            drains: Drains::default(),
            settling: BTreeSet::new(),
            turns: Turns::default(),
            fights: Fights::default(),
            outlook: Outlook::default(),
            outbox: Outbox::default(),
            refusals: 0,
            astray: false,
            transitions: Vec::new(),
        }
    }

    /// Takes an event of the watch of `part`; whether all workloads are known by it.
    pub fn watched(
        &mut self,
        part: &Part,
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
        match self.workloads.take(part, event, now) {
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
            done: false,
            calm: None,
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
                let known = self.workloads.get(&key);
                let known = known.map(|entry| Version::of(&entry.object.stored));
                self.busy.insert(key, Busy { wanted, known });
                return Some(call);
            }
            self.queue.ended();
        }
        None
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

    /// Whether all workloads have to be listed anew: the API server was put back to a copy of its past, and a watch from
    /// its future says nothing.
    pub fn is_astray(&mut self) -> bool {
        std::mem::take(&mut self.astray)
    }

    /// How long readiness took from the wish to the API server's answer, of those that have come since the last call.
    pub fn transitions(&mut self) -> Vec<Duration> {
        std::mem::take(&mut self.transitions)
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

#[cfg(test)]
mod tests;
