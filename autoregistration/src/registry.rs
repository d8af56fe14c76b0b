//! Who is registered: a state machine without I/O or clock. Events and the time go in, what to tell whom comes out; what
//! the mesh looks like is computed from its state.
//!
//! Owned by [`task`], which gives it the time and carries out its effects. What is to be kept of a workload it wishes of
//! a [store](crate::store), whose news are events like any other. Rules: section 3.5 of the protocol's design
//! ("Identity, names, takeover"): a workload outlives its stream, a VM keeps its name, a clone never takes the place of
//! a VM that lives, and nothing is removed while it is ready.

pub mod group_totals;
pub mod health;
pub mod hello;
pub mod name;
pub mod objects;
pub mod task;

mod access;
mod admission;
mod ahead;
mod assignment;
mod balance;
mod census;
mod challenge;
mod claims;
mod event;
mod groups;
mod labels;
mod news;
mod notices;
mod obstacles;
mod probe_kinds;
mod reports;
mod room;
mod rules;
mod session;
mod sweep;
#[cfg(test)]
mod tests;
mod unheard;
mod workload;
mod workloads;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use linkerd_harness_api::v1::{self, controller_message::Kind};

use crate::breaker::Breaker;
use crate::cluster_ip::ClusterIpsOf;
use crate::linkerd::Settings;
use crate::manifests::Manifests;
use crate::refusal::{Reason, Refusal};
use crate::shutdown;
use crate::store::{Key, Wish};
pub use admission::Verdict;
pub use census::Census;
pub use claims::{Claim, Claimed};
pub use event::{Effect, Event};
use name::Fingerprint;
pub use notices::Notice;
pub use rules::{DefaultAccess, Families, Reconnect, Rules};
use session::{Session, Stage};
use unheard::Unheard;
use workloads::Workloads;

/// Between two heartbeats of a harness.
pub const HEARTBEAT: Duration = Duration::from_secs(30);
/// After so many without a word a stream is dead.
const MISSED_HEARTBEATS: u32 = 3;
/// How long an old stream has to show that its VM lives when another claims to be it.
pub const CHALLENGE: Duration = Duration::from_secs(5);
/// Heartbeats with this bit are questions of ours, which a harness answers with the same number; without it they are
/// the harness's, which we answer. So that no answer is taken for a question.
pub const OUR_QUESTION: u64 = 1 << 63;

/// A stream of a harness, numbered by the shell.
pub type StreamId = u64;

/// A question of another replica, numbered by the shell.
pub type AskId = u64;

/// How many of us there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replicas {
    /// One, which knows of every session and decides alone.
    One,
    /// Several. Others may have the session of a VM that we have none of.
    Several,
}

/// Everything that is registered.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each says something else, and all go together"
)]
pub struct Registry {
    rules: Rules,
    replicas: Replicas,
    leading: bool,
    manifests: Arc<Manifests>,
    settings: Arc<Settings>,
    cluster_ips: ClusterIpsOf,
    workloads: Workloads,
    sessions: BTreeMap<StreamId, Session>,
    /// Streams whose place others ask for.
    challenged: BTreeSet<StreamId>,
    /// Streams whose VM knows of a newer edition of its group, and until when they wait for ours.
    ahead: BTreeSet<(Duration, StreamId)>,
    /// Streams that wait for an address to be free.
    roomers: BTreeSet<StreamId>,
    /// Streams whose VM the other replicas are asked for.
    claiming: BTreeMap<Fingerprint, StreamId>,
    /// Streams whose VM a replica may have that could not be asked.
    unheard: Unheard,
    breaker: Breaker,
    /// Since when we have led for long enough to call VMs lost.
    judges_from: Duration,
    /// Questions of other replicas that wait for the answer of a stream of ours.
    asked: BTreeMap<AskId, claims::Asked>,
    /// Workloads that have not yet been told of the newest manifests and anchors.
    rollout: VecDeque<Key>,
    /// When the next of them are.
    batch_at: Duration,
    restored: bool,
    /// We will go down.
    departing: bool,
    /// No stream has been silent for too long before this; `None` means that there is none.
    silence_due: Option<Duration>,
    /// Streams whose report "ready" does not count before some moment.
    held: BTreeSet<(Duration, StreamId)>,
    /// Nothing is due before this.
    due: Option<Duration>,
    changed: bool,
    now: Duration,
    effects: Vec<Effect>,
}

// === impl Registry ===

impl Registry {
    /// Begins empty. Nobody is called unknown before the restore window has passed.
    pub fn new(
        rules: Rules,
        replicas: Replicas,
        manifests: Arc<Manifests>,
        settings: Arc<Settings>,
    ) -> Self {
        let cluster_ips =
            crate::cluster_ip::assign(&manifests.services, rules.service_network, &BTreeMap::new());
        Self {
            restored: rules.restore_window.is_zero(),
            due: Some(rules.restore_window),
            rules,
            replicas,
            leading: replicas == Replicas::One,
            manifests,
            settings,
            cluster_ips,
            workloads: Workloads::default(),
            sessions: BTreeMap::new(),
            challenged: BTreeSet::new(),
            ahead: BTreeSet::new(),
            roomers: BTreeSet::new(),
            claiming: BTreeMap::new(),
            unheard: Unheard::default(),
            breaker: Breaker::default(),
            judges_from: Duration::ZERO,
            asked: BTreeMap::new(),
            rollout: VecDeque::new(),
            batch_at: Duration::ZERO,
            departing: false,
            silence_due: None,
            held: BTreeSet::new(),
            changed: true,
            now: Duration::ZERO,
            effects: Vec::new(),
        }
    }

    /// Takes one event at the time `now` since the start. What was due before it happens first.
    pub fn handle(&mut self, now: Duration, event: Event) -> Vec<Effect> {
        self.now = self.now.max(now);
        self.sweep();
        match event {
            Event::Opened {
                stream,
                caller,
                hello,
            } => self.open(stream, caller, *hello),
            Event::Heard { stream, message } => self.hear(stream, message.map(|message| *message)),
            Event::Closed { stream } => self.close(stream),
            Event::Manifests(manifests) => self.set_manifests(manifests),
            Event::Settings(settings) => {
                self.settings = settings;
                self.roll_out_to_all();
            }
            Event::News(news) => self.take_news(news),
            Event::Claimed { stream, claimed } => self.take_claimed(stream, claimed),
            Event::Asked { ask, claim } => self.take_claim(ask, &claim),
            Event::Leading(leading) => self.set_leading(leading),
            Event::Census(census) => self.take_census(&census),
            Event::Loads(loads) => self.take_loads(&loads),
            Event::Tick => {}
            Event::Depart { within } => self.depart(within),
            Event::Shutdown => self.shut_down(),
        }
        std::mem::take(&mut self.effects)
    }

    /// Whether the mesh has changed since this was last asked.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// When something is due next.
    pub fn next_due(&self) -> Option<Duration> {
        self.due
    }

    /// Something is due then, perhaps before all else.
    fn due_at(&mut self, at: impl Into<Option<Duration>>) {
        self.due = self.due.into_iter().chain(at.into()).min();
    }

    fn send(&mut self, stream: StreamId, message: Kind) {
        self.effects.push(Effect::Send(stream, Box::new(message)));
    }

    /// Ends a stream and forgets its session; the workload stays, without a stream.
    fn end(&mut self, stream: StreamId, refusal: Option<Refusal>) {
        if self.sessions.contains_key(&stream) {
            let reason = refusal.as_ref().map(Refusal::reason);
            self.effects
                .push(Effect::Ended(reason.map_or("LEFT", Reason::as_str)));
            self.effects.push(Effect::End(stream, refusal));
            self.close(stream);
        }
    }

    /// Wishes of the store what is wanted of this workload now. After each change of one.
    fn settle(&mut self, key: &Key) {
        self.changed = true;
        let Some(workload) = self.workloads.get_mut(key) else {
            return;
        };
        let desired = workload.desired();
        if desired.is_none()
            && matches!(
                workload.duty,
                workload::Duty::LastWord | workload::Duty::Mark
            )
        {
            workload.duty = workload::Duty::None;
        }
        if workload.wished != desired {
            workload.wished.clone_from(&desired);
            self.effects.push(Effect::Wish(Wish {
                key: key.clone(),
                desired,
            }));
        }
    }

    /// Over which time VMs that have lost their stream come back.
    fn reconnect_window(&self) -> Duration {
        match self.rules.reconnect {
            Reconnect::Within(window) => window,
            Reconnect::ByFleet => shutdown::reconnect_window(self.workloads.len())
                .min(self.rules.disconnect_grace / 2),
        }
    }

    /// Each harness chooses its moment within the time, and its workload stays as it is meanwhile.
    fn depart(&mut self, within: Duration) {
        self.departing = true;
        for stream in self.sessions.keys().copied().collect::<Vec<_>>() {
            self.send_away(stream, Reason::Draining.as_str(), within);
        }
    }

    /// Asks a harness to open another session within this time.
    fn send_away(&mut self, stream: StreamId, reason: &'static str, within: Duration) {
        if let Some(session) = self.sessions.get_mut(&stream) {
            session.sent_away = true;
            session.since = self.now;
        }
        self.effects.push(Effect::SentAway(reason));
        self.send(
            stream,
            Kind::GoAway(v1::GoAway {
                reason: reason.to_owned(),
                reconnect: true,
                within: prost_types::Duration::try_from(within).ok(),
            }),
        );
    }

    fn shut_down(&mut self) {
        let window = self.reconnect_window();
        self.depart(window);
        let refusal = self.going_down();
        let streams = self.sessions.keys();
        let ends = streams.map(|stream| Effect::End(*stream, Some(refusal.clone())));
        self.effects.extend(ends);
        // Not `end`: that VMs lose their streams by our doing says nothing about the VMs.
        self.sessions.clear();
    }

    fn going_down(&self) -> Refusal {
        Refusal::new(
            Reason::Draining,
            format!("{} is going down", self.rules.controller),
        )
        .retry_after(self.reconnect_window())
    }

    fn waits(&self, stream: StreamId) -> bool {
        self.sessions
            .get(&stream)
            .is_some_and(|session| matches!(session.stage, Stage::Waiting(_)))
    }
}
