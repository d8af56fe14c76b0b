//! A workload: the member of the mesh that a VM has become, kept while the VM is away.

use std::net::IpAddr;
use std::time::Duration;

use linkerd_harness_core::names::GroupRef;

use super::health::{Condition, Status};
use super::hello::Hello;
use super::name::Fingerprint;
use super::{DISCONNECT_GRACE, LEAVE_VIEW, Mesh, StreamId, WORKLOAD_TTL};
use crate::identity::SpiffeId;
use crate::manifests::Group;
use crate::view::Member;

/// Label from which Linkerd takes an endpoint's zone.
const ZONE: &str = "topology.kubernetes.io/zone";

/// A workload.
#[derive(Clone, Debug)]
pub(super) struct Workload {
    /// Its group.
    pub(super) group: GroupRef,
    /// Name, unique in the namespace.
    pub(super) name: String,
    /// uid.
    pub(super) uid: String,
    /// What it is recognised by.
    pub(super) fingerprint: Fingerprint,
    /// SPIFFE ID.
    pub(super) identity: SpiffeId,
    /// SNI of its proxy.
    pub(super) server_name: String,
    /// The group as it was last seen.
    pub(super) template: Group,
    /// Addresses.
    pub(super) ips: Vec<IpAddr>,
    /// Port of the proxy's inbound listener.
    pub(super) proxy_inbound_port: u16,
    /// Zone, may be empty.
    pub(super) zone: String,
    /// For people.
    pub(super) hostname: String,
    /// When it was made, since our start.
    pub(super) created: Duration,
    /// Whether it may receive traffic.
    pub(super) condition: Condition,
    /// Its VM's stream.
    pub(super) presence: Presence,
    /// When it goes, once that is decided.
    pub(super) removal: Option<Duration>,
}

/// Whether a workload's VM is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    /// On this stream.
    Connected(StreamId),
    /// Away since this moment.
    Lost(Duration),
}

// === impl Workload ===

impl Workload {
    /// A workload that was just made; not ready yet.
    pub(super) fn new(
        name: String,
        fingerprint: Fingerprint,
        caller: &SpiffeId,
        hello: &Hello,
        mesh: &Mesh,
        now: Duration,
    ) -> Self {
        Self {
            server_name: format!(
                "{name}.{}.external.identity.{}.{}",
                hello.group.namespace, mesh.linkerd_namespace, mesh.identity_trust_domain
            ),
            uid: fingerprint.uid(),
            group: hello.group.clone(),
            name,
            fingerprint,
            identity: caller.clone(),
            template: Group::default(),
            ips: Vec::new(),
            proxy_inbound_port: 0,
            zone: String::new(),
            hostname: String::new(),
            created: now,
            condition: Condition::starting(now),
            presence: Presence::Lost(now),
            removal: None,
        }
    }

    /// The VM is there: takes over what it says of itself.
    pub(super) fn connect(
        &mut self,
        stream: StreamId,
        hello: &Hello,
        group: &Group,
        now: Duration,
    ) {
        group.clone_into(&mut self.template);
        hello.ips.clone_into(&mut self.ips);
        hello.zone.clone_into(&mut self.zone);
        hello.hostname.clone_into(&mut self.hostname);
        self.proxy_inbound_port = hello.proxy_inbound_port;
        self.presence = Presence::Connected(stream);
        self.removal = None;
        self.condition.report(&hello.health, now);
    }

    /// Kubernetes namespace.
    pub(super) fn namespace(&self) -> &str {
        self.group.namespace.as_str()
    }

    /// The stream of its VM.
    pub(super) fn stream(&self) -> Option<StreamId> {
        match self.presence {
            Presence::Connected(stream) => Some(stream),
            Presence::Lost(_) => None,
        }
    }

    /// Until when a lost VM is believed to be well.
    pub(super) fn grace_ends(&self) -> Option<Duration> {
        match self.presence {
            Presence::Connected(_) => None,
            Presence::Lost(since) => Some(since.saturating_add(DISCONNECT_GRACE)),
        }
    }

    /// Until when a lost VM is waited for.
    pub(super) fn expires(&self) -> Option<Duration> {
        match self.presence {
            Presence::Connected(_) => None,
            Presence::Lost(since) => Some(since.saturating_add(WORKLOAD_TTL)),
        }
    }

    /// Takes it out: not ready now, gone when those who send to it had time to see that.
    pub(super) fn retire(&mut self, reason: &str, message: &str, now: Duration) {
        let was_out = self.condition.status != Status::True;
        let since = self.condition.since;
        self.condition.set(Status::False, reason, message, now);
        let out = if was_out { since } else { now };
        let removal = out.saturating_add(LEAVE_VIEW).max(now);
        self.removal = Some(self.removal.map_or(removal, |earlier| earlier.min(removal)));
    }

    /// What the mesh APIs see of it.
    pub(super) fn member(&self) -> Member {
        let mut labels = self.template.labels.clone();
        if !self.zone.is_empty() {
            labels
                .entry(ZONE.to_owned())
                .or_insert_with(|| self.zone.clone());
        }
        Member {
            namespace: self.namespace().to_owned(),
            name: self.name.clone(),
            group: self.group.name.as_str().to_owned(),
            labels,
            annotations: self.template.annotations.clone(),
            ips: self.ips.clone(),
            ports: self.template.ports.clone(),
            proxy_inbound_port: self.proxy_inbound_port,
            identity: self.identity.to_string(),
            server_name: self.server_name.clone(),
            ready: self.condition.status == Status::True && self.removal.is_none(),
        }
    }
}
