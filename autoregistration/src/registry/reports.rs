//! What a harness reports of its VM's health, until the report is in effect.

use linkerd_harness_api::v1::{self, controller_message::Kind, health_ack::Outcome};
use tracing::info;

use super::health::Health;
use super::session::Stage;
use super::workload::Workload;
use super::{Registry, StreamId};
use crate::refusal::{Reason, Refusal};

/// Reports for a workload that is gone, before the stream is ended.
const STALE_REPORTS: u32 = 3;

// === impl Registry ===

impl Registry {
    pub(super) fn take_health(&mut self, stream: StreamId, health: Health) {
        let Some(session) = self.sessions.get_mut(&stream) else {
            return;
        };
        let seq = health.seq;
        if seq < session.hello.health.seq {
            // Overtaken by a newer report, which is in effect.
            self.acknowledge(stream, seq, Outcome::Stale);
            return;
        }
        session.hello.health = health;
        let Stage::Joined(key) = session.stage.clone() else {
            self.acknowledge(stream, seq, Outcome::Queued);
            return;
        };
        let Some(there) = self
            .workloads
            .get(&key)
            .and_then(|workload| workload.there.as_ref())
        else {
            session.owed = Some(seq);
            return self.judge(stream);
        };
        let reported = &session.hello.health.workload_uid;
        if !reported.is_empty() && *reported != there.uid {
            session.stale_reports += 1;
            if session.stale_reports >= STALE_REPORTS {
                let refusal = Refusal::new(
                    Reason::StaleGeneration,
                    format!(
                        "health is reported for uid {}, the workload has {}",
                        reported.escape_debug(),
                        there.uid
                    ),
                );
                self.end(stream, Some(refusal));
            } else {
                self.acknowledge(stream, seq, Outcome::Stale);
                self.assign(stream);
            }
            return;
        }
        session.stale_reports = 0;
        session.owed = Some(seq);
        self.judge(stream);
    }

    /// Lets the newest report of a stream count, as far as it may.
    pub(super) fn judge(&mut self, stream: StreamId) {
        let Some(session) = self.sessions.get(&stream) else {
            return;
        };
        let Stage::Joined(key) = &session.stage else {
            return;
        };
        let Some(workload) = self.workloads.get_mut(key) else {
            return;
        };
        let before = workload.condition.ready.status;
        if !workload.condition.report(&session.hello.health, self.now) {
            let until = workload.condition.held_until();
            self.hold(stream, until);
            return self.queue_owed(stream);
        }
        let ready = &workload.condition.ready;
        if before != ready.status {
            info!(
                namespace = key.0,
                workload = key.1,
                ready = ready.status.as_str(),
                reason = ready.reason,
                detail = ready.message,
                "readiness changed"
            );
        }
        let changed = before != ready.status;
        let key = key.clone();
        self.settle(&key);
        if changed {
            self.notice_readiness(&key);
        }
        self.acknowledge_owed(stream);
    }

    fn acknowledge(&mut self, stream: StreamId, seq: u64, outcome: Outcome) {
        self.send(
            stream,
            Kind::HealthAck(v1::HealthAck {
                seq,
                outcome: outcome.into(),
            }),
        );
    }

    /// Acknowledges the report of a stream that is in effect now.
    pub(super) fn acknowledge_owed(&mut self, stream: StreamId) {
        let Some(session) = self.sessions.get_mut(&stream) else {
            return;
        };
        let Stage::Joined(key) = &session.stage else {
            return;
        };
        let workload = self.workloads.get(key);
        if workload.is_some_and(Workload::is_ready_as_wanted)
            && let Some(seq) = session.owed.take()
        {
            self.acknowledge(stream, seq, Outcome::Persisted);
        }
    }

    /// The store does not take a report now; it is kept until it does.
    pub(super) fn queue_owed(&mut self, stream: StreamId) {
        let session = self.sessions.get_mut(&stream);
        if let Some(seq) = session.and_then(|session| session.owed.take()) {
            self.acknowledge(stream, seq, Outcome::Queued);
        }
    }
}
