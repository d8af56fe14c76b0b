//! Who is registered: a state machine without I/O or clock. Events and the time go in, what to tell whom comes out; what
//! the mesh looks like is computed from its state.
//!
//! Owned by [`task`], which gives it the time and carries out its effects. Rules: section 3.5 of the protocol's design
//! ("Identity, names, takeover"): a workload outlives its stream, a VM keeps its name, a clone never takes the place of
//! a VM that lives, and nothing is removed while it is ready.

pub mod health;
pub mod hello;
pub mod name;
pub mod objects;
pub mod task;

mod access;
mod admission;
mod assignment;
mod groups;
mod obstacles;
mod session;
mod sweep;
#[cfg(test)]
mod tests;
mod workload;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};
use linkerd_harness_api::v1::{self, controller_message::Kind, harness_message};

use crate::cluster_ip::ClusterIpsOf;
use crate::identity::SpiffeId;
use crate::manifests::Manifests;
use crate::refusal::{Reason, Refusal};
pub use admission::Verdict;
use hello::Hello;
use session::{Session, Stage};
use workload::Workload;

/// Between two heartbeats of a harness.
pub const HEARTBEAT: Duration = Duration::from_secs(30);
/// After so many without a word a stream is dead.
const MISSED_HEARTBEATS: u32 = 3;
/// How long a VM whose stream was lost is believed to be well.
pub const DISCONNECT_GRACE: Duration = Duration::from_secs(45);
/// How long a VM that is away is waited for before its workload is removed.
pub const WORKLOAD_TTL: Duration = Duration::from_secs(15 * 60);
/// How long an old stream has to show that its VM lives when another claims to be it.
pub const CHALLENGE: Duration = Duration::from_secs(5);
/// Between "not ready" and removal, so that those who send to it stop first.
pub const LEAVE_VIEW: Duration = Duration::from_secs(1);
/// First retries of a lost stream spread over this; small, because a standalone mesh is.
pub const RECONNECT_WINDOW: Duration = Duration::from_secs(2);
/// Heartbeats with this bit are questions of ours, which a harness answers with the same number; without it they are
/// the harness's, which we answer. So that no answer is taken for a question.
pub const OUR_QUESTION: u64 = 1 << 63;
/// Reports for a workload that is gone, before the stream is ended.
const STALE_REPORTS: u32 = 3;

/// A stream of a harness, numbered by the shell.
pub type StreamId = u64;

/// Settings of the mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mesh {
    /// `cluster.local`
    pub cluster_domain: String,
    /// Domain of Linkerd's own identities and of server names.
    pub identity_trust_domain: String,
    /// Linkerd's namespace.
    pub linkerd_namespace: String,
    /// Networks of VMs and Services.
    pub cluster_networks: Vec<IpNet>,
    /// Policy of a port for which nothing else is said.
    pub default_inbound_policy: String,
    /// Where cluster IPs are computed in.
    pub service_network: Ipv4Net,
    /// How long after a start nobody is called unknown.
    pub restore_window: Duration,
    /// Who we are, for people.
    pub controller: String,
}

/// What happens.
#[derive(Debug)]
pub enum Event {
    /// A harness said `Hello` on a new stream.
    Opened {
        /// The stream.
        stream: StreamId,
        /// Who its certificate says that it is.
        caller: SpiffeId,
        /// What it said, checked.
        hello: Box<Hello>,
    },
    /// A harness said something more.
    Heard {
        /// The stream.
        stream: StreamId,
        /// What it said; `None` when we don't know the kind.
        message: Option<Box<harness_message::Kind>>,
    },
    /// A stream is gone.
    Closed {
        /// The stream.
        stream: StreamId,
    },
    /// The manifests are these.
    Manifests(Arc<Manifests>),
    /// The trust anchors are these.
    Anchors(Arc<str>),
    /// It is time to look at what is due.
    Tick,
    /// We are going down.
    Shutdown,
}

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Tell a harness.
    Send(StreamId, Box<Kind>),
    /// End a stream: well, or with a refusal.
    End(StreamId, Option<Refusal>),
    /// Count how a `Hello` ended: `ASSIGNED`, `PENDING`, or the reason of its refusal.
    Count(&'static str),
}

/// Everything that is registered.
#[derive(Debug)]
pub struct Registry {
    mesh: Mesh,
    manifests: Arc<Manifests>,
    anchors: Arc<str>,
    cluster_ips: ClusterIpsOf,
    workloads: BTreeMap<(String, String), Workload>,
    sessions: BTreeMap<StreamId, Session>,
    restored: bool,
    now: Duration,
    effects: Vec<Effect>,
}

// === impl Mesh ===

impl Mesh {
    /// Identity of a control-plane service, as the proxies know it.
    pub fn control_identity(&self, account: &str) -> String {
        format!(
            "{account}.{namespace}.serviceaccount.identity.{namespace}.{domain}",
            namespace = self.linkerd_namespace,
            domain = self.identity_trust_domain
        )
    }
}

// === impl Registry ===

impl Registry {
    /// Begins empty. Nobody is called unknown before the restore window has passed.
    pub fn new(mesh: Mesh, manifests: Arc<Manifests>, anchors: Arc<str>) -> Self {
        let cluster_ips =
            crate::cluster_ip::assign(&manifests.services, mesh.service_network, &BTreeMap::new());
        Self {
            restored: mesh.restore_window.is_zero(),
            mesh,
            manifests,
            anchors,
            cluster_ips,
            workloads: BTreeMap::new(),
            sessions: BTreeMap::new(),
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
            Event::Anchors(anchors) => {
                self.anchors = anchors;
                self.push_assignments();
            }
            Event::Tick => {}
            Event::Shutdown => self.shut_down(),
        }
        std::mem::take(&mut self.effects)
    }

    fn send(&mut self, stream: StreamId, message: Kind) {
        self.effects.push(Effect::Send(stream, Box::new(message)));
    }

    /// Ends a stream and forgets its session; the workload stays, without a stream.
    fn end(&mut self, stream: StreamId, refusal: Option<Refusal>) {
        if self.sessions.contains_key(&stream) {
            self.effects.push(Effect::End(stream, refusal));
            self.close(stream);
        }
    }

    fn shut_down(&mut self) {
        for stream in self.sessions.keys().copied().collect::<Vec<_>>() {
            self.send(
                stream,
                Kind::GoAway(v1::GoAway {
                    reason: Reason::Draining.as_str().to_owned(),
                    reconnect: true,
                    within: prost_types::Duration::try_from(RECONNECT_WINDOW).ok(),
                }),
            );
            let refusal = Refusal::new(
                Reason::Draining,
                format!("{} is going down", self.mesh.controller),
            )
            .retry_after(RECONNECT_WINDOW);
            self.effects.push(Effect::End(stream, Some(refusal)));
        }
        // Not `end`: that VMs lose their streams by our doing says nothing about the VMs.
        self.sessions.clear();
    }

    fn waits(&self, stream: StreamId) -> bool {
        self.sessions
            .get(&stream)
            .is_some_and(|session| matches!(session.stage, Stage::Waiting(_)))
    }
}
