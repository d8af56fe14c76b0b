//! What the store tells: which workloads there are, and what has become of wishes.

use tracing::{info, warn};

use super::session::{Stage, Wait};
use super::workload::{Duty, Presence, Workload};
use super::{Registry, StreamId};
use crate::kubernetes::events::Reason as Event;
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
            News::Contested(key) => {
                let message = "somebody else changes it whenever it is put right: look for another controller, or a \
                               second installation, with `kubectl get --show-managed-fields`";
                self.notice_workload(&key, Event::Contested, message.to_owned());
            }
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
            return self.part_twins(key);
        };
        let before = workload.there.as_ref();
        let renewed = before.is_none_or(|before| before.uid != stored.uid);
        let ready = stored.readiness();
        // Of an object that is not what it was, another replica has written.
        let others = before
            .is_some_and(|before| before.uid != stored.uid || !before.readiness().same(&ready));
        workload.there = Some(Box::new(stored.clone()));
        match (workload.presence, workload.duty) {
            (Presence::Connected(stream), _) => {
                if renewed {
                    self.assign(stream);
                }
                self.acknowledge_owed(stream);
            }
            (Presence::Lost(_), Duty::Remove { seen_unready }) => {
                let again = others && renewed;
                if again || (seen_unready && ready.status == Status::True) {
                    // Its VM has come to another replica meanwhile.
                    self.leave_to_others(key, read);
                } else if ready.status != Status::True {
                    workload.duty = Duty::Remove { seen_unready: true };
                }
            }
            (Presence::Lost(_), Duty::Mark) if others && ready.status != Status::Unknown => {
                self.leave_to_others(key, read);
            }
            (Presence::Lost(_), Duty::LastWord | Duty::Mark) => {}
            (Presence::Lost(_), Duty::None) => {
                let rises = ready.status == Status::True;
                self.workloads.change(key, |workload| {
                    workload.spec = read.spec;
                    // Whoever has written that has its VM.
                    if rises && workload.condition.ready.status != Status::True {
                        workload.presence = Presence::Lost(now);
                    }
                    workload.condition.set(ready, now);
                });
                self.part_twins(key);
            }
        }
        self.settle(key);
    }

    /// Two replicas may let two VMs with one address in at the same moment. Both see it then, and agree on who goes: the
    /// one with the greater fingerprint.
    fn part_twins(&mut self, key: &Key) {
        let Some(other) = self.workloads.get(key) else {
            return;
        };
        if other.is_leaving() || other.condition.ready.status == Status::Unknown {
            return;
        }
        let (fingerprint, ips) = (other.fingerprint, other.ips().to_vec());
        for twin in self.workloads.holders(key, &ips) {
            let Some(workload) = self.workloads.get(&twin) else {
                continue;
            };
            let Some(stream) = workload
                .stream()
                .filter(|_| workload.fingerprint > fingerprint)
            else {
                continue;
            };
            let Some(refusal) = self.address_in_use(key, &workload.group_key(), workload.ips())
            else {
                continue;
            };
            let now = self.now;
            if let Some(workload) = self.workloads.get_mut(&twin) {
                workload.retire("Replaced", "its address belongs to another workload", now);
            }
            self.settle(&twin);
            self.refuse(stream, refusal);
        }
    }

    /// Takes a workload as it is, for another replica has its VM.
    fn leave_to_others(&mut self, key: &Key, read: Workload) {
        let now = self.now;
        self.workloads.change(key, |workload| {
            workload.spec = read.spec;
            workload.condition.set(read.condition.ready, now);
            workload.presence = Presence::Lost(now);
            workload.duty = Duty::None;
        });
        self.settle(key);
        self.admit_roomers();
    }

    /// Takes a workload out that is not there, and of which nothing is wanted any more.
    pub(super) fn forget(&mut self, key: &Key) {
        drop(self.workloads.take(key));
        self.changed = true;
        self.effects.push(super::Effect::Wish(crate::store::Wish {
            key: key.clone(),
            desired: None,
        }));
        self.admit_roomers();
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
        info!(
            namespace = key.0,
            workload = key.1,
            reason = workload.condition.ready.reason,
            "workload removed"
        );
        self.forget(key);
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
            // It is there by now, so that the next name is taken.
            Failure::Foreign if self.workloads.foreign(key).is_some() => {
                self.forget(key);
                if let Some(session) = self.sessions.get_mut(&stream) {
                    session.sent.clear();
                    session.stage = Stage::Waiting(Wait::Room);
                }
                self.admit(stream);
            }
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
            Failure::Unavailable => self.put_off(stream, Reason::ApiUnavailable, message),
            Failure::Refused => self.put_off(stream, Reason::ApiRefused, message),
        }
    }

    /// For a VM that cannot be assigned yet.
    fn put_off(&mut self, stream: StreamId, reason: Reason, message: &str) {
        let Some(session) = self.sessions.get(&stream) else {
            return;
        };
        let refusal = Refusal::new(reason, message);
        if session.hello.can_wait {
            self.pend(stream, &refusal);
        } else {
            self.refuse(stream, refusal);
        }
    }
}
