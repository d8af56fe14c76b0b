//! What happens when its time has come, and when that is.

use std::time::Duration;

use tracing::{info, warn};

use super::health::Status;
use super::session::{Session, Stage, Wait};
use super::workload::Workload;
use super::{HEARTBEAT, MISSED_HEARTBEATS, Registry};
use crate::refusal::{Reason, Refusal};

// === impl Registry ===

impl Registry {
    /// When something is due next.
    pub fn next_due(&self) -> Option<Duration> {
        let restore = (!self.restored).then_some(self.mesh.restore_window);
        let sessions = self.sessions.values().map(session_due);
        let workloads = self.workloads.values().filter_map(workload_due);
        sessions.chain(workloads).chain(restore).min()
    }

    pub(super) fn sweep(&mut self) {
        let now = self.now;
        if !self.restored && now >= self.mesh.restore_window {
            self.restored = true;
            info!(
                workloads = self.workloads.len(),
                "restore window passed, unknown addresses are answered from now on"
            );
        }
        self.end_silent_sessions();
        self.sweep_workloads();
        self.sweep_waits();
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

    fn sweep_workloads(&mut self) {
        let now = self.now;
        let mut gone = Vec::new();
        for (key, workload) in &mut self.workloads {
            if workload.removal.is_some_and(|removal| removal <= now) {
                gone.push(key.clone());
                continue;
            }
            if workload.condition.status != Status::Unknown
                && workload.grace_ends().is_some_and(|ends| ends <= now)
            {
                warn!(
                    namespace = key.0,
                    workload = key.1,
                    "workload unreachable, not ready"
                );
                workload.condition.set(
                    Status::Unknown,
                    "HarnessUnreachable",
                    "its harness has not been heard of",
                    now,
                );
            }
            // It has not been ready for long.
            if workload.expires().is_some_and(|expires| expires <= now) {
                gone.push(key.clone());
            }
        }
        for key in gone {
            self.remove(&key);
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
            self.end(
                holder,
                Some(Refusal::new(
                    Reason::DuplicateInstance,
                    "another process of this machine registered and this one did not answer",
                )),
            );
            self.free_challengers_of(holder);
        }
        self.admit_waiting(|wait, _| matches!(wait, Wait::Room { until } if *until <= now));
    }

    pub(super) fn remove(&mut self, key: &(String, String)) {
        if let Some(workload) = self.workloads.remove(key) {
            info!(
                namespace = key.0,
                workload = key.1,
                reason = workload.condition.reason,
                "workload removed"
            );
        }
    }
}

fn silence_ends(session: &Session) -> Duration {
    session
        .last_heard
        .saturating_add(HEARTBEAT * MISSED_HEARTBEATS)
}

fn session_due(session: &Session) -> Duration {
    let silence = silence_ends(session);
    match session.stage {
        Stage::Waiting(Wait::Answer { until, .. } | Wait::Room { until }) => silence.min(until),
        Stage::Waiting(Wait::Group) | Stage::Joined(_) => silence,
    }
}

fn workload_due(workload: &Workload) -> Option<Duration> {
    // Once unknown, the grace has done its work.
    let grace = workload
        .grace_ends()
        .filter(|_| workload.condition.status != Status::Unknown);
    [workload.removal, grace, workload.expires()]
        .into_iter()
        .flatten()
        .min()
}
