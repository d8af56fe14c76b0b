//! What happens when its time has come, and when that is.
//!
//! With ten thousand sessions something is always due: all that comes often is found without a look at every session.

use std::time::Duration;

use linkerd_harness_api::v1::health_report::State;
use tracing::info;

use super::claims::silent_holder;
use super::health::Status;
use super::session::{Session, Stage, Wait};
use super::{HEARTBEAT, MISSED_HEARTBEATS, Registry, Replicas, StreamId};
use crate::refusal::{Reason, Refusal};

// === impl Registry ===

impl Registry {
    /// Does what is due. What is due next is looked for only then: every heartbeat puts something off.
    pub(super) fn sweep(&mut self) {
        let now = self.now;
        if self.due.is_none_or(|due| due > now) {
            return;
        }
        if !self.restored && now >= self.rules.restore_window {
            self.restored = true;
            self.changed = true;
            info!(
                workloads = self.workloads.len(),
                "restore window passed, unknown addresses are answered from now on"
            );
        }
        if self.silence_due.is_some_and(|due| due <= now) {
            self.end_silent_sessions();
        }
        if self.replicas == Replicas::One {
            self.judge_lost();
        }
        self.sweep_held();
        self.sweep_ahead();
        self.sweep_waits();
        self.sweep_asked();
        self.sweep_unheard();
        if !self.rollout.is_empty() && self.batch_at <= now {
            self.next_batch();
        }
        self.due = self.find_due();
    }

    fn find_due(&self) -> Option<Duration> {
        let restore = (!self.restored).then_some(self.rules.restore_window);
        let batch = (!self.rollout.is_empty()).then_some(self.batch_at);
        let asked = self.asked.values().map(|asked| asked.until);
        let held = self.held.first().map(|(until, _)| *until);
        let ahead = self.ahead.first().map(|(until, _)| *until);
        self.answers()
            .map(|(_, until)| until)
            .chain(asked)
            .chain(held)
            .chain(ahead)
            .chain(self.silence_due)
            .chain(self.unheard.due())
            .chain(self.judgement_due())
            .chain(restore)
            .chain(batch)
            .min()
    }

    fn end_silent_sessions(&mut self) {
        let now = self.now;
        let silent = self
            .sessions
            .iter()
            .filter(|(_, session)| silence_ends(session) <= now)
            .map(|(stream, _)| *stream)
            .collect::<Vec<_>>();
        for stream in silent {
            self.end(
                stream,
                Some(Refusal::new(
                    Reason::HeartbeatMissed,
                    format!("nothing was heard for {MISSED_HEARTBEATS} heartbeats"),
                )),
            );
        }
        self.silence_due = self.sessions.values().map(silence_ends).min();
    }

    /// Lets the report "ready" of a stream count then, unless another one comes first.
    pub(super) fn hold(&mut self, stream: StreamId, until: Option<Duration>) {
        if let Some(until) = until {
            self.held.insert((until, stream));
            self.due_at(until);
        }
    }

    fn sweep_held(&mut self) {
        while let Some((until, stream)) = self.held.pop_first() {
            if until > self.now {
                self.held.insert((until, stream));
                return;
            }
            if self.is_held(stream) {
                self.judge(stream);
            }
        }
    }

    fn is_held(&self, stream: StreamId) -> bool {
        let session = self.sessions.get(&stream);
        let healthy = session.filter(|session| session.hello.health.state == State::Healthy);
        healthy.is_some_and(|session| match &session.stage {
            Stage::Joined(key) => {
                let workload = self.workloads.get(key);
                workload.is_some_and(|it| it.condition.ready.status != Status::True)
            }
            Stage::Waiting(_) => false,
        })
    }

    /// Streams whose answer others wait for, and until when.
    fn answers(&self) -> impl Iterator<Item = (StreamId, Duration)> {
        // Mostly there are none, and sessions are many.
        let sessions = (!self.challenged.is_empty()).then(|| self.sessions.values());
        let stages = sessions.into_iter().flatten().map(|session| &session.stage);
        stages.filter_map(|stage| match stage {
            Stage::Waiting(Wait::Answer { holder, until }) => Some((*holder, *until)),
            Stage::Waiting(Wait::Group | Wait::Edition | Wait::Replicas | Wait::Room)
            | Stage::Joined(_) => None,
        })
    }

    fn sweep_waits(&mut self) {
        let now = self.now;
        let silent = self.answers().filter(|(_, until)| *until <= now);
        for holder in silent.map(|(holder, _)| holder).collect::<Vec<_>>() {
            // Should it only have been asleep, it is the newcomer when it is back.
            self.notice_taken_over(holder);
            self.end(holder, Some(silent_holder()));
        }
    }
}

pub(super) fn silence_ends(session: &Session) -> Duration {
    session
        .last_heard
        .saturating_add(HEARTBEAT * MISSED_HEARTBEATS)
}
