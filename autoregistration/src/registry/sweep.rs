//! What happens when its time has come, and when that is.

use std::time::Duration;

use linkerd_harness_api::v1::health_report::State;
use tracing::info;

use super::claims::silent_holder;
use super::health::Status;
use super::session::{Session, Stage, Wait};
use super::{HEARTBEAT, MISSED_HEARTBEATS, Registry, Replicas};
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
        self.end_silent_sessions();
        if self.replicas == Replicas::One {
            self.judge_lost();
        }
        self.sweep_held();
        self.sweep_waits();
        self.sweep_asked();
        if !self.rollout.is_empty() && self.batch_at <= now {
            self.next_batch();
        }
        self.due = self.find_due();
    }

    fn find_due(&self) -> Option<Duration> {
        let restore = (!self.restored).then_some(self.rules.restore_window);
        let batch = (!self.rollout.is_empty()).then_some(self.batch_at);
        let asked = self.asked.values().map(|asked| asked.until);
        let sessions = self.sessions.values().map(session_due);
        let held = self.held().filter_map(|(_, until)| until);
        sessions
            .chain(asked)
            .chain(held)
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
    }

    /// Streams whose report "ready" does not count yet, and when it does.
    fn held(&self) -> impl Iterator<Item = (super::StreamId, Option<Duration>)> {
        self.sessions.iter().filter_map(|(stream, session)| {
            let Stage::Joined(key) = &session.stage else {
                return None;
            };
            let condition = &self.workloads.get(key)?.condition;
            let held = session.hello.health.state == State::Healthy
                && condition.ready.status != Status::True;
            held.then(|| (*stream, condition.held_until()))
        })
    }

    fn sweep_held(&mut self) {
        let now = self.now;
        let due = self
            .held()
            .filter(|(_, until)| until.is_none_or(|until| until <= now))
            .map(|(stream, _)| stream)
            .collect::<Vec<_>>();
        for stream in due {
            self.judge(stream);
        }
    }

    fn sweep_waits(&mut self) {
        let now = self.now;
        let mut silent_holders = Vec::new();
        for session in self.sessions.values() {
            if let Stage::Waiting(Wait::Answer { holder, until }) = session.stage
                && until <= now
            {
                silent_holders.push(holder);
            }
        }
        for holder in silent_holders {
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

fn session_due(session: &Session) -> Duration {
    let silence = silence_ends(session);
    match session.stage {
        Stage::Waiting(Wait::Answer { until, .. }) => silence.min(until),
        Stage::Waiting(Wait::Group | Wait::Replicas | Wait::Room) | Stage::Joined(_) => silence,
    }
}
