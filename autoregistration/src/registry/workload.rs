//! A workload: the member of the mesh that a VM has become, kept while the VM is away.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use linkerd_harness_core::names::GroupRef;

use super::health::{Condition, Status};
use super::hello::Hello;
use super::name::{CANDIDATES, Fingerprint};
use super::{Rules, StreamId, labels};
use crate::identity::SpiffeId;
use crate::linkerd::Settings;
use crate::manifests::Group;
use crate::store::{Desired, Key, Ready, Spec, Stored};
use crate::view::Member;

/// A workload.
#[derive(Clone, Debug)]
pub(super) struct Workload {
    /// Its group.
    pub(super) group: GroupRef,
    /// Name, unique in the namespace.
    pub(super) name: String,
    /// What it is recognised by.
    pub(super) fingerprint: Fingerprint,
    /// SPIFFE ID.
    pub(super) identity: SpiffeId,
    /// As the mesh shall see it.
    pub(super) spec: Arc<Spec>,
    /// When it was made, since our start.
    pub(super) created: Duration,
    /// Whether it may receive traffic.
    pub(super) condition: Condition,
    /// Its VM's stream.
    pub(super) presence: Presence,
    /// What the store has of it.
    pub(super) there: Option<Box<Stored>>,
    /// What we have to do with it while its VM has no stream here.
    pub(super) duty: Duty,
    /// Its group cannot be read: all but its readiness stays as it is.
    pub(super) frozen: bool,
    /// What was last wished.
    pub(super) wished: Option<Desired>,
}

/// Whether a workload's VM is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    /// On this stream.
    Connected(StreamId),
    /// On none of ours, and not known to be on another's, since this moment.
    Lost(Duration),
}

/// What is left to do with a workload whose VM has no stream here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Duty {
    /// Nothing: it is as it should be, or for others to write.
    None,
    /// What its VM said last is still to be written.
    LastWord,
    /// It is to be marked as one that nobody has heard of.
    Mark,
    /// It is to be removed.
    Remove {
        /// Whether it was seen not to be ready since that was decided. One that is ready after that is in use again.
        seen_unready: bool,
    },
}

// === impl Workload ===

impl Workload {
    /// A workload that is about to be made; not ready yet.
    pub(super) fn new(
        name: String,
        fingerprint: Fingerprint,
        caller: &SpiffeId,
        hello: &Hello,
        now: Duration,
    ) -> Self {
        Self {
            group: hello.group.clone(),
            name,
            fingerprint,
            identity: caller.clone(),
            spec: Arc::default(),
            created: now,
            condition: Condition::new(Ready::starting(), now),
            presence: Presence::Lost(now),
            there: None,
            duty: Duty::None,
            frozen: false,
            wished: None,
        }
    }

    /// One that the store has; `None` when it does not say what we write.
    pub(super) fn stored(key: &Key, stored: &Stored, now: Duration) -> Option<Self> {
        let spec = &stored.spec;
        let group = GroupRef {
            namespace: key.0.parse().ok()?,
            name: spec.group.parse().ok()?,
        };
        let fingerprint = Fingerprint::from_hex(&spec.fingerprint)?;
        // A copy that somebody has made under another name is not ours.
        let named = |candidate| fingerprint.workload_name(&group, candidate) == key.1;
        if !stored.ours || !(0..CANDIDATES).any(named) {
            return None;
        }
        Some(Self {
            group,
            name: key.1.clone(),
            fingerprint,
            identity: spec.identity.parse().ok()?,
            spec: Arc::new(spec.clone()),
            created: now,
            condition: Condition::new(stored.readiness(), now),
            presence: Presence::Lost(now),
            there: Some(Box::new(stored.clone())),
            duty: Duty::None,
            frozen: false,
            wished: None,
        })
    }

    /// What the mesh shall see when `hello` is the VM and `group` its group.
    pub(super) fn shape(
        &self,
        hello: &Hello,
        group: &Group,
        settings: &Settings,
        rules: &Rules,
    ) -> Spec {
        let spec = Spec {
            group: group.name.clone(),
            group_uid: group.uid.clone(),
            fingerprint: self.fingerprint.to_hex(),
            hostname: hello.hostname.clone(),
            labels: labels::of(group, hello),
            annotations: settings.workload_annotations(group),
            ports: group.ports.clone(),
            proxy_inbound_port: hello.proxy_inbound_port,
            ips: rules.advertised(&hello.ips),
            identity: self.identity.to_string(),
            server_name: format!(
                "{}.{}.external.identity.{}.{}",
                self.name,
                self.group.namespace,
                settings.linkerd_namespace,
                settings.identity_trust_domain
            ),
        };
        self.held_back(group, spec)
    }

    /// `spec`, where the group is paused with what is there already: also a replica that has not seen the group before
    /// it was paused changes no member.
    fn held_back(&self, group: &Group, spec: Spec) -> Spec {
        let is_described = !self.spec.group.is_empty();
        if !group.paused || !is_described {
            return spec;
        }
        Spec {
            labels: self.spec.labels.clone(),
            annotations: self.spec.annotations.clone(),
            ports: self.spec.ports.clone(),
            ..spec
        }
    }

    /// The same, where only the group is known to have changed.
    pub(super) fn reshaped(&self, group: &Group, settings: &Settings) -> Spec {
        let spec = Spec {
            group_uid: group.uid.clone(),
            labels: labels::kept(group, &self.spec.labels),
            annotations: settings.workload_annotations(group),
            ports: group.ports.clone(),
            ..Spec::clone(&self.spec)
        };
        self.held_back(group, spec)
    }

    /// Kubernetes namespace.
    pub(super) fn namespace(&self) -> &str {
        self.group.namespace.as_str()
    }

    /// Namespace and name.
    pub(super) fn key(&self) -> Key {
        (self.namespace().to_owned(), self.name.clone())
    }

    /// Namespace and name of its group.
    pub(super) fn group_key(&self) -> Key {
        (self.namespace().to_owned(), self.group.name.to_string())
    }

    /// Addresses.
    pub(super) fn ips(&self) -> &[IpAddr] {
        &self.spec.ips
    }

    /// The stream of its VM.
    pub(super) fn stream(&self) -> Option<StreamId> {
        match self.presence {
            Presence::Connected(stream) => Some(stream),
            Presence::Lost(_) => None,
        }
    }

    /// Since when nobody has heard of it.
    pub(super) fn lost_since(&self) -> Option<Duration> {
        match self.presence {
            Presence::Connected(_) => None,
            Presence::Lost(since) => Some(since),
        }
    }

    /// Whether it is on its way out.
    pub(super) fn is_leaving(&self) -> bool {
        matches!(self.duty, Duty::Remove { .. })
    }

    /// Takes it out: not ready now, gone when those who send to it had time to see that.
    pub(super) fn retire(&mut self, reason: &str, message: &str, now: Duration) {
        self.condition.set(
            Ready {
                status: Status::False,
                reason: reason.to_owned(),
                message: message.to_owned(),
            },
            now,
        );
        if !self.is_leaving() {
            self.duty = Duty::Remove {
                seen_unready: false,
            };
        }
    }

    /// What is wanted of it now.
    pub(super) fn desired(&self) -> Option<Desired> {
        let ready = self.condition.ready.clone();
        let present = |ready| Desired::Present {
            spec: Arc::clone(&self.spec),
            ready,
        };
        match (self.presence, self.duty) {
            (_, Duty::Remove { .. }) => Some(Desired::Gone {
                uid: self.there.as_ref().map(|there| there.uid.clone()),
                ready,
            }),
            (Presence::Connected(_), _) if !self.frozen => Some(present(ready)),
            (Presence::Lost(_), Duty::LastWord) if !self.frozen => {
                (!self.is_in_effect()).then(|| present(ready))
            }
            (Presence::Connected(_), _) | (Presence::Lost(_), Duty::LastWord | Duty::Mark) => {
                let there = self.there.as_ref()?;
                (!there.readiness().same(&ready)).then(|| Desired::Marked {
                    uid: there.uid.clone(),
                    ready,
                })
            }
            (Presence::Lost(_), Duty::None) => None,
        }
    }

    /// Whether the store has it as it should be.
    pub(super) fn is_in_effect(&self) -> bool {
        self.there
            .as_ref()
            .is_some_and(|there| self.is_ready_as_wanted() && there.holds(&self.spec))
    }

    /// Whether the store has its condition as it should be.
    pub(super) fn is_ready_as_wanted(&self) -> bool {
        self.there
            .as_ref()
            .is_some_and(|there| there.readiness().same(&self.condition.ready))
    }

    /// What the mesh APIs see of it.
    pub(super) fn member(&self) -> Member {
        let spec = &self.spec;
        Member {
            namespace: self.namespace().to_owned(),
            name: self.name.clone(),
            group: self.group.name.as_str().to_owned(),
            labels: spec.labels.clone(),
            annotations: spec.annotations.clone(),
            ips: spec.ips.clone(),
            ports: spec.ports.clone(),
            proxy_inbound_port: spec.proxy_inbound_port,
            identity: spec.identity.clone(),
            server_name: spec.server_name.clone(),
            ready: self.condition.ready.status == Status::True && !self.is_leaving(),
        }
    }
}
