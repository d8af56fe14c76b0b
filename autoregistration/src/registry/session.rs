//! One stream: what its harness said, and what it is told.

use std::time::Duration;

use linkerd_harness_api::v1::{
    self, config_ack, controller_message::Kind, harness_message, health_report::State, leave::Mode,
};
use tracing::{debug, info, warn};

use super::admission::group_key;
use super::health::{Health, Status};
use super::hello::{self, Hello};
use super::room::leaving;
use super::workload::{Duty, Presence};
use super::{Effect, OUR_QUESTION, Registry, Replicas, StreamId, assignment};
use crate::identity::SpiffeId;
use crate::kubernetes::events::Reason as Event;
use crate::refusal::{Reason, Refusal};
use crate::store::{Key, Ready};

/// Between two answers to heartbeats with a number that does not rise.
const LEAST_BETWEEN_ANSWERS: Duration = Duration::from_secs(1);

/// An old workload is gone after about this time.
const ROOM: Duration = Duration::from_secs(1);

/// The state of a stream.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) caller: SpiffeId,
    /// As it was said, but with the newest health and addresses.
    pub(super) hello: Hello,
    pub(super) stage: Stage,
    pub(super) opened: Duration,
    pub(super) last_heard: Duration,
    /// The last heartbeat of the harness that was answered, and when.
    answered: Option<(u64, Duration)>,
    /// Hash of the assignment that it has; empty before the first.
    pub(super) sent: Vec<u8>,
    /// The report that is acknowledged as soon as the store has it.
    pub(super) owed: Option<u64>,
    /// Whether no other replica has its VM.
    pub(super) claimed: bool,
    /// When it began, or was asked to go to another replica.
    pub(super) since: Duration,
    /// Whether it was asked to go to another replica.
    pub(super) sent_away: bool,
    /// Reports for a workload that is gone.
    pub(super) stale_reports: u32,
    /// It has said that it does not take what it was sent last.
    rejects: bool,
}

/// How far a stream has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Not assigned yet.
    Waiting(Wait),
    /// Is this workload.
    Joined((String, String)),
}

/// What a stream waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// Its group to appear.
    Group,
    /// An edit of its group that it knows of to reach us.
    Edition,
    /// The answer of the stream that holds its workload.
    Answer {
        /// The holder.
        holder: StreamId,
        /// When its silence counts as an answer.
        until: Duration,
    },
    /// The other replicas to say that none of them has its VM.
    Replicas,
    /// An old workload with its address to go.
    Room,
}

// === impl Session ===

impl Session {
    pub(super) fn new(caller: SpiffeId, hello: Hello, now: Duration) -> Self {
        Self {
            caller,
            hello,
            stage: Stage::Waiting(Wait::Group),
            opened: now,
            last_heard: now,
            answered: None,
            sent: Vec::new(),
            owed: None,
            claimed: false,
            since: now,
            sent_away: false,
            stale_reports: 0,
            rejects: false,
        }
    }
}

// === impl Registry ===

impl Registry {
    pub(super) fn hear(&mut self, stream: StreamId, message: Option<harness_message::Kind>) {
        let now = self.now;
        let Some(session) = self.sessions.get_mut(&stream) else {
            return;
        };
        session.last_heard = now;
        self.refuse_challengers_of(stream);
        match message {
            Some(harness_message::Kind::Heartbeat(heartbeat)) => {
                self.answer_heartbeat(stream, heartbeat.seq);
            }
            Some(harness_message::Kind::Health(report)) => {
                self.take_health(stream, Health::from_wire(report));
            }
            Some(harness_message::Kind::Addresses(change)) => {
                self.take_addresses(stream, &change.ips);
            }
            Some(harness_message::Kind::Leave(leave)) => {
                self.take_leave(stream, leave.mode(), &leave.reason);
            }
            Some(harness_message::Kind::ConfigAck(ack)) => self.take_ack(stream, &ack),
            Some(harness_message::Kind::Hello(_)) => self.end(
                stream,
                Some(Refusal::new(
                    Reason::InvalidHello,
                    "a stream has one Hello, its first message",
                )),
            ),
            // A kind of a newer harness.
            None => {}
        }
    }

    /// The stream is gone; the VM may be well.
    pub(super) fn close(&mut self, stream: StreamId) {
        let Some(session) = self.sessions.remove(&stream) else {
            return;
        };
        self.roomers.remove(&stream);
        self.unheard.forget(stream);
        if session.stage == Stage::Waiting(Wait::Replicas) {
            self.claiming.retain(|_, claimant| *claimant != stream);
        }
        if let Stage::Joined(key) = session.stage
            && let Some(workload) = self.workloads.get_mut(&key)
            && workload.presence == Presence::Connected(stream)
        {
            workload.presence = Presence::Lost(self.now);
            if workload.duty == Duty::None {
                workload.duty = Duty::LastWord;
            }
            if workload.there.is_none() && !workload.is_leaving() {
                // It never came to be.
                self.forget(&key);
            } else {
                info!(
                    namespace = key.0,
                    workload = key.1,
                    "session ended, workload kept"
                );
                self.settle(&key);
            }
            if self.replicas == Replicas::One {
                self.due_at(self.now.saturating_add(self.rules.disconnect_grace));
            }
        }
        self.free_challengers_of(stream);
    }

    fn answer_heartbeat(&mut self, stream: StreamId, seq: u64) {
        let Some(session) = self.sessions.get_mut(&stream) else {
            return;
        };
        // Neither an answer of the harness to us, nor our own answer sent back at once: two sides that answer answers
        // would never fall silent.
        let sent_back = |(last, at): (u64, Duration)| {
            seq <= last && self.now.saturating_sub(at) < LEAST_BETWEEN_ANSWERS
        };
        if seq & OUR_QUESTION == 0 && !session.answered.is_some_and(sent_back) {
            session.answered = Some((seq, self.now));
            self.send(stream, Kind::Heartbeat(v1::Heartbeat { seq }));
        }
    }

    /// What a harness says to its assignment.
    fn take_ack(&mut self, stream: StreamId, ack: &v1::ConfigAck) {
        let Some(session) = self.sessions.get_mut(&stream) else {
            return;
        };
        let (outcome, detail) = (ack.outcome(), hello::quote(&ack.message));
        // Once for each assignment, however often it is said.
        if outcome == config_ack::Outcome::Rejected
            && !std::mem::replace(&mut session.rejects, true)
        {
            let (group, hostname) = (&session.hello.group, &session.hello.hostname);
            warn!(%group, hostname, detail, "a VM does not take its assignment, its proxy goes on with the last one");
        } else {
            debug!(stream, ?outcome, detail, "assignment acknowledged");
        }
        self.effects.push(Effect::Acknowledged(match outcome {
            config_ack::Outcome::Applied => "APPLIED",
            config_ack::Outcome::Deferred => "DEFERRED",
            config_ack::Outcome::Rejected => "REJECTED",
            config_ack::Outcome::Unspecified => "UNSPECIFIED",
        }));
    }

    fn take_addresses(&mut self, stream: StreamId, ips: &[String]) {
        let ips = match hello::check_ips(ips) {
            Ok(ips) => ips,
            Err(refusal) => return self.end(stream, Some(refusal)),
        };
        let Some(session) = self.sessions.get_mut(&stream) else {
            return;
        };
        ips.clone_into(&mut session.hello.ips);
        let group = group_key(&session.hello);
        let Stage::Joined(key) = session.stage.clone() else {
            return;
        };
        let advertised = self.rules.advertised(&ips);
        let workload = self.workloads.get(&key);
        let refusal = workload.and_then(|workload| self.not_let_in(workload, &advertised));
        if let Some(refusal) = refusal.or_else(|| self.address_not_allowed(&advertised)) {
            return self.end(stream, Some(refusal));
        }
        match self.make_room(&key, &group, &advertised) {
            Ok(true) => {}
            // Its next stream begins with the addresses that it has then.
            Ok(false) => return self.end(stream, Some(leaving().retry_after(ROOM))),
            Err(refusal) => return self.end(stream, Some(refusal)),
        }
        info!(
            namespace = key.0,
            workload = key.1,
            ?ips,
            "addresses changed"
        );
        self.reshape(&key);
        self.assign(stream);
    }

    fn take_leave(&mut self, stream: StreamId, mode: Mode, reason: &str) {
        let now = self.now;
        let Some(session) = self.sessions.get_mut(&stream) else {
            return;
        };
        session.hello.health.state = State::Draining;
        let Stage::Joined(key) = session.stage.clone() else {
            if matches!(mode, Mode::Reboot | Mode::Remove) {
                self.end(stream, None);
            }
            return;
        };
        let Some(workload) = self.workloads.get_mut(&key) else {
            return;
        };
        let reason: String = reason
            .chars()
            .filter(|c| !c.is_control())
            .take(256)
            .collect();
        workload.condition.set(
            Ready {
                status: Status::False,
                reason: "Draining".to_owned(),
                message: reason.clone(),
            },
            now,
        );
        // An unknown mode of a newer harness says at least that it wants no traffic.
        if mode == Mode::Remove {
            workload.retire("Draining", &reason, now);
        }
        self.settle(&key);
        if mode == Mode::Remove {
            self.notice_workload(&key, Event::Removed, "its VM has left".to_owned());
        }
        info!(
            namespace = key.0,
            workload = key.1,
            ?mode,
            reason,
            "workload left"
        );
        // The end of the stream tells the harness that its leave is in effect.
        if matches!(mode, Mode::Reboot | Mode::Remove) {
            self.end(stream, None);
        }
    }

    /// Sends the assignment, whether it has changed or not. There is none before the store has given a uid.
    pub(super) fn assign(&mut self, stream: StreamId) {
        let Some((_, assignment)) = self.assignment(stream) else {
            return;
        };
        if let Some(session) = self.sessions.get_mut(&stream) {
            if session.sent.is_empty() {
                self.effects.push(Effect::Count("ASSIGNED"));
            }
            assignment.config_hash.clone_into(&mut session.sent);
            session.rejects = false;
            self.send(stream, Kind::Assignment(assignment));
        }
    }

    /// What a stream is to be told, and its workload.
    pub(super) fn assignment(&self, stream: StreamId) -> Option<(&Key, v1::Assignment)> {
        let session = self.sessions.get(&stream)?;
        let Stage::Joined(key) = &session.stage else {
            return None;
        };
        let workload = self.workloads.get(key)?;
        let group = (key.0.clone(), workload.group.name.to_string());
        let group = self.manifests.groups.get(&group)?;
        let made = assignment::build(
            &self.settings,
            &self.rules,
            group,
            &session.hello,
            workload,
            self.reconnect_window(),
        )?;
        Some((key, made))
    }
}
