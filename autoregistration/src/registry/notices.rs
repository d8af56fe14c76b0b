//! What people are told of on the objects concerned, as events of Kubernetes, and what is written down of each decision.

use super::admission::group_key;
use super::hello::Hello;
use super::{Effect, Registry, StreamId, labels};
use crate::audit::{self, Decision, Outcome};
use crate::kubernetes::events::{Kind, Reason as Event, Regarding};
use crate::refusal::{Reason, Refusal};
use crate::store::{Key, Status};

/// Something to be told of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Of which.
    pub regarding: Regarding,
    /// What has happened.
    pub event: Event,
    /// For people.
    pub message: String,
}

// === impl Registry ===

impl Registry {
    /// Of a group; nothing when it is not there.
    pub(super) fn notice_group(&mut self, group: &Key, event: Event, message: String) {
        let Some(uid) = self.manifests.groups.get(group).map(|group| &group.uid) else {
            return;
        };
        let regarding = Regarding {
            kind: Kind::Group,
            namespace: group.0.clone(),
            name: group.1.clone(),
            uid: uid.clone(),
        };
        self.notice(regarding, event, message);
    }

    /// Of a workload; nothing when the store does not have it.
    pub(super) fn notice_workload(&mut self, key: &Key, event: Event, message: String) {
        let Some(uid) = self
            .workloads
            .get(key)
            .and_then(|workload| Some(&workload.there.as_ref()?.uid))
        else {
            return;
        };
        let regarding = Regarding {
            kind: Kind::Workload,
            namespace: key.0.clone(),
            name: key.1.clone(),
            uid: uid.clone(),
        };
        self.notice(regarding, event, message);
    }

    /// Of a workload whose readiness has changed.
    pub(super) fn notice_readiness(&mut self, key: &Key) {
        let Some(workload) = self.workloads.get(key) else {
            return;
        };
        let ready = &workload.condition.ready;
        let event = match (ready.status, ready.reason.as_str()) {
            (Status::True, _) => Event::Ready,
            (Status::Unknown, _) => Event::HarnessUnreachable,
            (Status::False, "Draining") => return,
            (Status::False, _) => Event::ProbeFailed,
        };
        let message = match ready.message.as_str() {
            "" => ready.reason.clone(),
            message => message.to_owned(),
        };
        self.notice_workload(key, event, message);
    }

    fn notice(&mut self, regarding: Regarding, event: Event, message: String) {
        self.effects.push(Effect::Notice(Box::new(Notice {
            regarding,
            event,
            message,
        })));
    }

    /// A VM is sent away: said on its group where a person has to do something.
    pub(super) fn notice_refusal(&mut self, stream: StreamId, refusal: &Refusal) {
        let event = match refusal.reason() {
            Reason::IdentityNotAllowed | Reason::AddressNotAllowed | Reason::GroupFull => {
                Event::IdentityDenied
            }
            Reason::DuplicateInstance => Event::DuplicateInstance,
            Reason::AddressInUse => Event::AddressConflict,
            _ => return,
        };
        let Some(session) = self.sessions.get(&stream) else {
            return;
        };
        let group = group_key(&session.hello);
        let message = format!(
            "{} at {:?} ({}): {}",
            session.caller,
            session.hello.ips,
            session.hello.hostname,
            refusal.message()
        );
        self.notice_group(&group, event, message);
    }

    /// What a VM asks for and does not get, where that does not keep it out.
    pub(super) fn warnings(&self, hello: &Hello) -> Vec<String> {
        let group = self.manifests.groups.get(&group_key(hello));
        group.map_or_else(Vec::new, |group| labels::warnings(group, hello))
    }

    /// Writes down what has been decided of a stream.
    pub(super) fn audit(&self, stream: StreamId, outcome: Outcome, why: Option<&Refusal>) {
        let Some(session) = self.sessions.get(&stream) else {
            return;
        };
        let decision = Decision::about_hello(&session.caller, &session.hello, outcome);
        let Some(why) = why else {
            let warnings = self.warnings(&session.hello).join("; ");
            return audit::decision(&decision.because("", &warnings));
        };
        audit::decision(&decision.because(why.reason().as_str(), why.detail()));
    }
}
