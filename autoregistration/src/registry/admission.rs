//! From a `Hello` to a workload, or to a reason why not.

use std::sync::Arc;
use std::time::Duration;

use linkerd_harness_api::v1::{self, controller_message::Kind};
use tracing::{info, warn};

use super::claims::Claim;
use super::hello::Hello;
use super::name::{CANDIDATES, Fingerprint};
use super::session::{Session, Stage, Wait};
use super::sweep::silence_ends;
use super::workload::{Duty, Presence, Workload};
use super::{Effect, Registry, Replicas, StreamId};
use crate::audit::Outcome;
use crate::identity::SpiffeId;
use crate::kubernetes::events::Reason as Event;
use crate::manifests::Group;
use crate::refusal::{Reason, Refusal};
use crate::store::Key;

/// Before a VM tries again what a person has to mend first.
pub(super) const LONG_WAIT: Duration = Duration::from_secs(60);
/// Sessions of a replica; each takes some 40 KiB.
const MOST_SESSIONS: usize = 40_000;
/// Sessions of one identity that are no workload yet.
const MOST_WAITING: usize = 2000;

/// What a `Hello` would come to, for `Check`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// The workload's name; empty when it would have none.
    pub workload_name: String,
    /// Why it would not be assigned.
    pub problems: Vec<String>,
    /// What it asks for and would not get.
    pub warnings: Vec<String>,
}

// === impl Registry ===

impl Registry {
    pub(super) fn open(&mut self, stream: StreamId, caller: SpiffeId, hello: Hello) {
        let session = Session::new(caller, hello, self.now);
        let silent = silence_ends(&session);
        self.sessions.insert(stream, session);
        // Of the others it ends no later.
        let due = *self.silence_due.get_or_insert(silent);
        self.due_at(due);
        if self.departing {
            // One connection of a pod's proxy carries many streams: a new one of it would come to us again and again.
            let refusal = self.going_down();
            return self.refuse(stream, refusal);
        }
        if let Some(refusal) = self.too_many(stream) {
            return self.refuse(stream, refusal);
        }
        self.admit(stream);
    }

    /// A session costs memory whether it comes to anything or not.
    fn too_many(&self, stream: StreamId) -> Option<Refusal> {
        let caller = &self.sessions.get(&stream)?.caller;
        let waiting = self.sessions.values().filter(|session| {
            matches!(session.stage, Stage::Waiting(_)) && session.caller == *caller
        });
        let message = if self.sessions.len() > MOST_SESSIONS {
            format!("this replica has {MOST_SESSIONS} sessions")
        } else if self.sessions.len() > MOST_WAITING && waiting.count() > MOST_WAITING {
            format!("{MOST_WAITING} sessions of {caller} wait already")
        } else {
            return None;
        };
        Some(Refusal::new(Reason::RateLimited, message).retry_after(LONG_WAIT))
    }

    /// Tries to make a session that waits into a workload.
    pub(super) fn admit(&mut self, stream: StreamId) {
        let Some(session) = self.sessions.get(&stream) else {
            return;
        };
        let (hello, caller, claimed) = (
            session.hello.clone(),
            session.caller.clone(),
            session.claimed,
        );
        let made = match self.manifests.groups.get(&group_key(&hello)).cloned() {
            Some(group) => {
                if !group.deleting && self.waits_for_edition(stream, &hello) {
                    return;
                }
                self.newcomer(&caller, &hello, &group)
            }
            None => match self.as_it_was(&caller, &hello) {
                Some(workload) => Ok(workload),
                None => return self.wait_for_group(stream, &hello),
            },
        };
        let made = match made {
            Ok(made) => made,
            Err(refusal) => return self.refuse(stream, refusal),
        };
        let key = made.key();
        if !self.take_over(stream, &key, &hello) {
            return;
        }
        if !claimed && self.replicas == Replicas::Several {
            let claim = Claim {
                fingerprint: made.fingerprint,
                session_id: hello.session_id,
                stream_seq: hello.stream_seq,
            };
            self.claiming.insert(made.fingerprint, stream);
            self.wait(stream, Wait::Replicas);
            return self.effects.push(Effect::Claim(stream, claim));
        }
        match self.make_room(&key, &group_key(&hello), made.ips()) {
            Ok(true) => self.join(stream, made, &hello),
            Ok(false) => self.wait_for_room(stream),
            Err(refusal) => self.refuse(stream, refusal),
        }
    }

    /// The workload that `hello` is, or would become, if its group lets it.
    fn newcomer(
        &self,
        caller: &SpiffeId,
        hello: &Hello,
        group: &Group,
    ) -> Result<Workload, Refusal> {
        if group.deleting {
            return Err(group_terminating(hello));
        }
        let made = self.candidate(caller, hello, group);
        let made = made.ok_or_else(|| name_taken(hello))?;
        match self.obstacle(&made) {
            Some(refusal) => Err(refusal),
            None => Ok(made),
        }
    }

    /// The workload that `hello` was when its group could still be read, if it is reached as it was. Its health counts,
    /// and all else waits until a person has mended the group.
    fn as_it_was(&self, caller: &SpiffeId, hello: &Hello) -> Option<Workload> {
        if !self.manifests.unreadable.contains(&group_key(hello)) {
            return None;
        }
        let fingerprint = Fingerprint::new(&hello.group, caller, &hello.instance_id);
        let known = self.workloads.by_fingerprint(fingerprint);
        let known = known.and_then(|key| self.workloads.get(key))?;
        let there = &known.there.as_ref()?.spec;
        let same = there.ips == self.rules.advertised(&hello.ips)
            && there.proxy_inbound_port == hello.proxy_inbound_port
            && !known.is_leaving();
        same.then(|| Workload {
            spec: Arc::new(there.clone()),
            frozen: true,
            ..known.clone()
        })
    }

    /// The stream is the workload from now on.
    fn join(&mut self, stream: StreamId, made: Workload, hello: &Hello) {
        let (key, now) = (made.key(), self.now);
        let mut workload = match self.workloads.take(&key) {
            Some(known) => Workload {
                spec: made.spec,
                frozen: made.frozen,
                ..known
            },
            None => made,
        };
        workload.presence = Presence::Connected(stream);
        workload.duty = Duty::None;
        let counts = workload.condition.report(&hello.health, now);
        let held = workload.condition.held_until().filter(|_| !counts);
        info!(
            namespace = key.0,
            workload = key.1,
            spiffe_id = %workload.identity,
            ips = ?workload.ips(),
            hostname = hello.hostname,
            ready = workload.condition.ready.status.as_str(),
            "workload registered"
        );
        let (is_there, is_frozen) = (workload.there.is_some(), workload.frozen);
        self.workloads.put(workload);
        self.hold(stream, held);
        if let Some(session) = self.sessions.get_mut(&stream) {
            session.stage = Stage::Joined(key.clone());
        }
        self.settle(&key);
        self.audit(stream, Outcome::Assigned, None);
        self.admit_roomers();
        if is_frozen {
            self.tell_pending(stream, &group_unreadable(hello));
        } else if is_there {
            self.assign(stream);
        } else {
            let message = format!("{} has joined as {}", hello.hostname, key.1);
            self.notice_group(&group_key(hello), Event::Registered, message);
        }
    }

    /// The workload that `hello` is, or would become; `None` when all its names are taken.
    fn candidate(&self, caller: &SpiffeId, hello: &Hello, group: &Group) -> Option<Workload> {
        let fingerprint = Fingerprint::new(&hello.group, caller, &hello.instance_id);
        let key = self.key_of(fingerprint, hello)?;
        let mut made = Workload::new(key.1, fingerprint, caller, hello, self.now);
        let known = self.workloads.get(&made.key()).unwrap_or(&made);
        made.spec = Arc::new(known.shape(hello, group, &self.settings, &self.rules));
        Some(made)
    }

    /// What [`Self::admit`] would do. Writes nothing, so that a machine which could only be told apart from a clone by
    /// asking is taken for the machine.
    pub(super) fn check(&self, caller: &SpiffeId, hello: &Hello) -> Verdict {
        let not_named = |refusal: Refusal| Verdict {
            workload_name: String::new(),
            problems: vec![refusal.to_string()],
            warnings: Vec::new(),
        };
        let Some(group) = self.manifests.groups.get(&group_key(hello)) else {
            return not_named(self.group_not_found(hello));
        };
        let Some(made) = self.candidate(caller, hello, group) else {
            return not_named(name_taken(hello));
        };
        let key = made.key();
        let conflicts = self.workloads.holders(&key, made.ips());
        let conflicts = conflicts
            .iter()
            .filter_map(|holder| self.address_in_use(holder, &group_key(hello), made.ips()));
        let terminating = group.deleting.then(|| group_terminating(hello));
        let problems = terminating
            .into_iter()
            .chain(self.obstacle(&made))
            .chain(conflicts);
        Verdict {
            problems: problems.map(|refusal| refusal.to_string()).collect(),
            warnings: self.warnings(hello),
            workload_name: made.name,
        }
    }

    pub(super) fn refuse(&mut self, stream: StreamId, refusal: Refusal) {
        self.tell_refused(stream, &refusal);
        self.end(stream, Some(refusal));
    }

    /// Tells everybody but the VM itself that it is sent away.
    pub(super) fn tell_refused(&mut self, stream: StreamId, refusal: &Refusal) {
        if let Some(session) = self.sessions.get(&stream) {
            warn!(
                group = %session.hello.group,
                spiffe_id = %session.caller,
                ips = ?session.hello.ips,
                hostname = session.hello.hostname,
                reason = refusal.reason().as_str(),
                error = refusal.detail(),
                "registration refused"
            );
        }
        self.audit(stream, Outcome::Refused, Some(refusal));
        self.notice_refusal(stream, refusal);
        self.effects.push(Effect::Count(refusal.reason().as_str()));
    }

    pub(super) fn wait(&mut self, stream: StreamId, wait: Wait) {
        if let Some(session) = self.sessions.get_mut(&stream) {
            session.stage = Stage::Waiting(wait);
        }
    }

    pub(super) fn wait_for_group(&mut self, stream: StreamId, hello: &Hello) {
        let refusal = if self.manifests.unreadable.contains(&group_key(hello)) {
            group_unreadable(hello)
        } else {
            self.group_not_found(hello)
        };
        if !hello.can_wait {
            return self.refuse(stream, refusal);
        }
        info!(group = %hello.group, hostname = hello.hostname, "session waits for its group");
        self.wait(stream, Wait::Group);
        self.pend(stream, &refusal);
    }

    /// Lets a VM wait that cannot be assigned yet.
    pub(super) fn pend(&mut self, stream: StreamId, refusal: &Refusal) {
        self.audit(stream, Outcome::Pending, Some(refusal));
        self.effects.push(Effect::Count("PENDING"));
        self.tell_pending(stream, refusal);
    }

    /// Tells a VM why it cannot be assigned yet.
    pub(super) fn tell_pending(&mut self, stream: StreamId, refusal: &Refusal) {
        self.send(
            stream,
            Kind::Pending(v1::Pending {
                reason: refusal.reason().as_str().to_owned(),
                message: refusal.message().to_owned(),
            }),
        );
    }

    /// The key that the workload has, or would get.
    fn key_of(&self, fingerprint: Fingerprint, hello: &Hello) -> Option<Key> {
        (0..CANDIDATES)
            .map(|candidate| {
                let name = fingerprint.workload_name(&hello.group, candidate);
                (hello.group.namespace.as_str().to_owned(), name)
            })
            .find(|key| {
                let ours = self.workloads.get(key);
                ours.is_none_or(|workload| workload.fingerprint == fingerprint)
                    && self.workloads.foreign(key).is_none()
            })
    }
}

pub(super) fn group_key(hello: &Hello) -> Key {
    (
        hello.group.namespace.as_str().to_owned(),
        hello.group.name.as_str().to_owned(),
    )
}

fn group_unreadable(hello: &Hello) -> Refusal {
    Refusal::new(
        Reason::GroupNotFound,
        format!(
            "ExternalGroup `{}` in namespace `{}` cannot be used as it is; `kubectl describe` says why",
            hello.group.name, hello.group.namespace
        ),
    )
}

fn group_terminating(hello: &Hello) -> Refusal {
    Refusal::new(
        Reason::GroupTerminating,
        format!("ExternalGroup {} is being deleted", hello.group),
    )
    .retry_after(LONG_WAIT)
}

fn name_taken(hello: &Hello) -> Refusal {
    Refusal::new(
        Reason::NameTaken,
        format!(
            "every workload name of this machine in {} is taken",
            hello.group
        ),
    )
}
