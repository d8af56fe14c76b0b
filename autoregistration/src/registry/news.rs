//! What the store tells: which workloads there are, and what has become of wishes.

use linkerd_harness_api::v1::{self, controller_message::Kind, health_ack::Outcome};
use tracing::{info, warn};

use super::session::{Stage, Wait};
use super::workload::{Duty, Presence, Workload};
use super::{Registry, StreamId};
use crate::audit;
use crate::refusal::{Reason, Refusal};
use crate::store::{Failure, Key, News, Status, Stored};

// === impl Registry ===

impl Registry {
    pub(super) fn take_news(&mut self, news: News) {
        match news {
            News::All(all) => {
                for gone in self.workloads.keys() {
                    if !all.contains_key(&gone) {
                        self.take_gone(&gone);
                    }
                }
                for (key, stored) in all {
                    self.take_stored(&key, &stored);
                }
            }
            News::One(key, stored) => self.take_stored(&key, &stored),
            News::Gone(key) => self.take_gone(&key),
            News::Failed {
                key,
                failure,
                message,
            } => self.take_failure(&key, failure, &message),
        }
    }

    fn take_stored(&mut self, key: &Key, stored: &Stored) {
        let now = self.now;
        self.workloads.take_foreign(key);
        let Some(read) = Workload::stored(key, stored, now) else {
            // A wish for it fails, and tells its VM so.
            self.workloads.put_foreign(key, stored);
            return;
        };
        let Some(workload) = self.workloads.get_mut(key) else {
            self.changed = true;
            self.workloads.put(read);
            return;
        };
        let before = workload.there.as_ref();
        let renewed = before.is_none_or(|before| before.uid != stored.uid);
        let ready = stored.readiness();
        workload.there = Some(Box::new(stored.clone()));
        match (workload.presence, workload.duty) {
            (Presence::Connected(stream), _) => {
                if renewed {
                    self.assign(stream);
                }
                self.acknowledge_owed(stream);
            }
            (Presence::Lost(_), Duty::Remove { seen_unready }) => {
                if ready.status != Status::True {
                    workload.duty = Duty::Remove { seen_unready: true };
                } else if seen_unready {
                    // Its VM has come to another replica meanwhile.
                    workload.duty = Duty::None;
                    workload.presence = Presence::Lost(now);
                    workload.condition.set(ready, now);
                }
            }
            (Presence::Lost(_), Duty::LastWord | Duty::Mark) => {}
            (Presence::Lost(_), Duty::None) => {
                self.workloads.change(key, |workload| {
                    workload.spec = read.spec;
                    workload.condition.set(ready, now);
                });
            }
        }
        self.settle(key);
    }

    fn take_gone(&mut self, key: &Key) {
        self.workloads.take_foreign(key);
        let Some(workload) = self.workloads.get_mut(key) else {
            return;
        };
        if let (Presence::Connected(_), Duty::None) = (workload.presence, workload.duty) {
            if workload.there.take().is_some() {
                warn!(
                    namespace = key.0,
                    workload = key.1,
                    "workload was deleted while its VM is here, it is made again"
                );
            }
            self.settle(key);
            return;
        }
        if let Some(workload) = self.workloads.take(key) {
            info!(
                namespace = key.0,
                workload = key.1,
                reason = workload.condition.ready.reason,
                "workload removed"
            );
        }
        self.changed = true;
        self.effects.push(super::Effect::Wish(crate::store::Wish {
            key: key.clone(),
            desired: None,
        }));
        self.admit_waiting(|wait, _| matches!(wait, Wait::Room));
    }

    fn take_failure(&mut self, key: &Key, failure: Failure, message: &str) {
        let Some(stream) = self.workloads.get(key).and_then(Workload::stream) else {
            return;
        };
        let assigned = self
            .sessions
            .get(&stream)
            .is_some_and(|session| !session.sent.is_empty());
        match failure {
            Failure::Foreign => {
                let refusal = Refusal::new(
                    Reason::NameTaken,
                    format!(
                        "an ExternalWorkload {}/{} is there that is not ours",
                        key.0, key.1
                    ),
                );
                self.refuse(stream, refusal);
            }
            // What it has goes on.
            Failure::Unavailable | Failure::Refused if assigned => {
                self.queue_owed(stream);
            }
            Failure::Unavailable => self.pend(stream, Reason::ApiUnavailable, message),
            Failure::Refused => self.pend(stream, Reason::ApiRefused, message),
        }
    }

    /// Tells a VM that it cannot be assigned yet.
    fn pend(&mut self, stream: StreamId, reason: Reason, message: &str) {
        let Some(session) = self.sessions.get(&stream) else {
            return;
        };
        if session.hello.can_wait {
            self.audit(
                stream,
                audit::Outcome::Pending,
                Some(&Refusal::new(reason, message)),
            );
            self.effects.push(super::Effect::Count("PENDING"));
            self.send(
                stream,
                Kind::Pending(v1::Pending {
                    reason: reason.as_str().to_owned(),
                    message: message.to_owned(),
                }),
            );
        } else {
            self.refuse(stream, Refusal::new(reason, message));
        }
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
