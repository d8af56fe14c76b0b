//! From a `Hello` to a workload, or to a reason why not.

use std::net::IpAddr;

use linkerd_harness_api::v1::{self, controller_message::Kind};
use tracing::{info, warn};

use super::hello::Hello;
use super::name::{CANDIDATES, Fingerprint};
use super::session::{Session, Stage, Wait};
use super::workload::{Presence, Workload};
use super::{CHALLENGE, Effect, OUR_QUESTION, Registry, StreamId};
use crate::identity::SpiffeId;
use crate::refusal::{Reason, Refusal};

/// What a `Hello` would come to, for `Check`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// The workload's name; empty when it would have none.
    pub workload_name: String,
    /// Why it would not be assigned.
    pub problems: Vec<String>,
}

type Key = (String, String);

// === impl Registry ===

impl Registry {
    pub(super) fn open(&mut self, stream: StreamId, caller: SpiffeId, hello: Hello) {
        let session = Session::new(caller, hello, self.now);
        self.sessions.insert(stream, session);
        self.admit(stream);
    }

    /// Tries to make a session that waits into a workload.
    pub(super) fn admit(&mut self, stream: StreamId) {
        let now = self.now;
        let Some(session) = self.sessions.get(&stream) else {
            return;
        };
        let hello = session.hello.clone();
        let caller = session.caller.clone();
        let Some(group) = self.manifests.groups.get(&group_key(&hello)).cloned() else {
            return self.wait_for_group(stream, &hello);
        };
        let fingerprint = Fingerprint::new(&hello.group, &caller, &hello.instance_id);
        let Some(key) = self.key_of(fingerprint, &hello) else {
            return self.refuse(stream, name_taken(&hello));
        };
        let made = Workload::new(key.1.clone(), fingerprint, &caller, &hello, &self.mesh, now);
        if let Some(refusal) = self.obstacle(&made, &hello) {
            return self.refuse(stream, refusal);
        }
        if !self.take_over(stream, &key, &hello) {
            return;
        }
        match self.make_room(&key, &hello.ips) {
            Ok(None) => {}
            Ok(Some(until)) => return self.wait(stream, Wait::Room { until }),
            Err(refusal) => return self.refuse(stream, refusal),
        }
        let workload = self.workloads.entry(key.clone()).or_insert(made);
        workload.connect(stream, &hello, &group, now);
        info!(
            namespace = key.0,
            workload = key.1,
            spiffe_id = %caller,
            ips = ?workload.ips,
            hostname = workload.hostname,
            ready = workload.condition.status.as_str(),
            "workload registered"
        );
        if let Some(session) = self.sessions.get_mut(&stream) {
            session.stage = Stage::Joined(key);
        }
        self.effects.push(Effect::Count("ASSIGNED"));
        self.assign(stream);
    }

    /// What [`Self::admit`] would do. Writes nothing, so that a machine which could only be told apart from a clone by
    /// asking is taken for the machine.
    pub(super) fn check(&self, caller: &SpiffeId, hello: &Hello) -> Verdict {
        if !self.manifests.groups.contains_key(&group_key(hello)) {
            return Verdict {
                workload_name: String::new(),
                problems: vec![group_not_found(hello).to_string()],
            };
        }
        let fingerprint = Fingerprint::new(&hello.group, caller, &hello.instance_id);
        let Some(key) = self.key_of(fingerprint, hello) else {
            return Verdict {
                workload_name: String::new(),
                problems: vec![name_taken(hello).to_string()],
            };
        };
        let name = key.1.clone();
        let made = Workload::new(name, fingerprint, caller, hello, &self.mesh, self.now);
        let conflicts = self
            .holders(&key, &hello.ips)
            .filter_map(|holder| self.address_in_use(holder));
        let problems = self.obstacle(&made, hello).into_iter().chain(conflicts);
        Verdict {
            problems: problems.map(|refusal| refusal.to_string()).collect(),
            workload_name: made.name,
        }
    }

    pub(super) fn refuse(&mut self, stream: StreamId, refusal: Refusal) {
        if let Some(session) = self.sessions.get(&stream) {
            warn!(
                group = %session.hello.group,
                spiffe_id = %session.caller,
                ips = ?session.hello.ips,
                hostname = session.hello.hostname,
                error = %refusal,
                "registration refused"
            );
        }
        self.effects.push(Effect::Count(refusal.reason().as_str()));
        self.end(stream, Some(refusal));
    }

    /// A sign of life from `holder`: those who claim to be its VM are not.
    pub(super) fn refuse_challengers_of(&mut self, holder: StreamId) {
        for challenger in self.challengers_of(holder) {
            self.refuse(
                challenger,
                Refusal::new(
                    Reason::DuplicateInstance,
                    "another machine with the same instance id and SPIFFE ID is registered and alive; \
                     was this one cloned? give it its own machine-id",
                ),
            );
        }
    }

    /// `holder` is gone: those who asked for its place may have it.
    pub(super) fn free_challengers_of(&mut self, holder: StreamId) {
        for challenger in self.challengers_of(holder) {
            self.admit(challenger);
        }
    }

    fn challengers_of(&self, holder: StreamId) -> Vec<StreamId> {
        let asks = |session: &Session| matches!(session.stage, Stage::Waiting(Wait::Answer { holder: h, .. }) if h == holder);
        self.sessions
            .iter()
            .filter(|(_, session)| asks(session))
            .map(|(stream, _)| *stream)
            .collect()
    }

    fn wait(&mut self, stream: StreamId, wait: Wait) {
        if let Some(session) = self.sessions.get_mut(&stream) {
            session.stage = Stage::Waiting(wait);
        }
    }

    pub(super) fn wait_for_group(&mut self, stream: StreamId, hello: &Hello) {
        let refusal = group_not_found(hello);
        if !hello.can_wait {
            return self.refuse(stream, refusal);
        }
        info!(group = %hello.group, hostname = hello.hostname, "session waits for its group");
        self.wait(stream, Wait::Group);
        self.effects.push(Effect::Count("PENDING"));
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
                self.workloads
                    .get(key)
                    .is_none_or(|workload| workload.fingerprint == fingerprint)
            })
    }

    /// Whether the stream may be the workload. If not, it was refused, or it waits for the answer of the one that is.
    fn take_over(&mut self, stream: StreamId, key: &Key, hello: &Hello) -> bool {
        let holder = self
            .workloads
            .get(key)
            .and_then(Workload::stream)
            .filter(|holder| *holder != stream);
        let Some((holder, session)) = holder.and_then(|id| Some((id, self.sessions.get(&id)?)))
        else {
            return true;
        };
        if session.hello.session_id == hello.session_id {
            // The same process: its newest stream counts, in whatever order they reach us. Either shows that the
            // process lives.
            let newer = hello.stream_seq >= session.hello.stream_seq;
            self.refuse_challengers_of(holder);
            let refusal = Refusal::new(
                Reason::Superseded,
                "a newer stream of the same process took over",
            );
            self.end(if newer { holder } else { stream }, Some(refusal));
            return newer;
        }
        let until = self.now.saturating_add(CHALLENGE);
        self.wait(stream, Wait::Answer { holder, until });
        self.send(
            holder,
            Kind::Heartbeat(v1::Heartbeat {
                seq: OUR_QUESTION | stream,
            }),
        );
        false
    }

    /// Frees the addresses of workloads whose VM is gone. `Some` is when they will be free.
    pub(super) fn make_room(
        &mut self,
        key: &Key,
        ips: &[IpAddr],
    ) -> Result<Option<std::time::Duration>, Refusal> {
        let now = self.now;
        let mut gone = Vec::new();
        for holder in self.holders(key, ips) {
            match self.address_in_use(holder) {
                Some(refusal) => return Err(refusal),
                None => gone.push((holder.namespace().to_owned(), holder.name.clone())),
            }
        }
        let mut until = None;
        for key in gone {
            let Some(workload) = self.workloads.get_mut(&key) else {
                continue;
            };
            workload.retire(
                "Replaced",
                "its address belongs to another workload now",
                now,
            );
            match workload.removal {
                Some(removal) if removal > now => until = until.max(Some(removal)),
                _ => self.remove(&key),
            }
        }
        Ok(until)
    }

    /// Other workloads with one of these addresses.
    fn holders<'a>(
        &'a self,
        key: &'a Key,
        ips: &'a [IpAddr],
    ) -> impl Iterator<Item = &'a Workload> {
        self.workloads
            .iter()
            .filter(move |(other, workload)| {
                *other != key && workload.ips.iter().any(|ip| ips.contains(ip))
            })
            .map(|(_, workload)| workload)
    }

    /// The refusal of another VM with an address of `holder`; `None` when `holder` may be replaced.
    fn address_in_use(&self, holder: &Workload) -> Option<Refusal> {
        let wait = match (holder.removal, holder.presence) {
            (Some(_), _) => return None,
            (None, Presence::Connected(_)) => std::time::Duration::from_secs(60),
            (None, Presence::Lost(_)) => holder
                .grace_ends()
                .and_then(|ends| ends.checked_sub(self.now))
                .filter(|wait| !wait.is_zero())?,
        };
        Some(
            Refusal::new(
                Reason::AddressInUse,
                format!(
                    "{:?} is an address of workload {}/{} ({}); two machines cannot share one",
                    holder.ips,
                    holder.namespace(),
                    holder.name,
                    holder.identity
                ),
            )
            .retry_after(wait),
        )
    }
}

pub(super) fn group_key(hello: &Hello) -> Key {
    (
        hello.group.namespace.as_str().to_owned(),
        hello.group.name.as_str().to_owned(),
    )
}

fn group_not_found(hello: &Hello) -> Refusal {
    Refusal::new(
        Reason::GroupNotFound,
        format!(
            "there is no ExternalGroup `{}` in namespace `{}`",
            hello.group.name, hello.group.namespace
        ),
    )
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
