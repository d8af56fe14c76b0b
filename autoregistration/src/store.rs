//! What is kept of a workload outside of this process: what is wanted of it, and what is there.
//!
//! The registry says what it wants of a workload ([`Wish`]). A store makes it so, one careful step after the other, and
//! tells what is there ([`News`]). Nothing is remembered in between: each step is found anew from the two.
//!
//! Two stores: a Kubernetes API server, whose `ExternalWorkload`s are read by Linkerd's controllers, and memory.

pub mod memory;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use serde::Serialize;
use sha2::{Digest as _, Sha256};

/// Namespace and name of a workload.
pub type Key = (String, String);

/// Label with the name of a workload's group. An `ExternalWorkload` without it is not ours and never touched.
pub const GROUP: &str = "meshexpansion.io/group";
/// Annotation with what a workload is recognised by, 64 hex digits.
pub const INSTANCE: &str = "meshexpansion.io/instance";
/// Annotation with the name of the machine, for people.
pub const HOSTNAME: &str = "meshexpansion.io/hostname";
/// Annotation with [`Spec::hash`], by which a label that is no longer wanted is noticed.
pub const APPLIED: &str = "meshexpansion.io/applied";
/// Port of the proxy's inbound listener that need not be said.
pub const PROXY_INBOUND_PORT: u16 = 4143;

/// A workload as the mesh shall see it, except for its readiness.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Spec {
    /// Name of its group, which is in the same namespace.
    pub group: String,
    /// uid of its group, which owns it.
    pub group_uid: String,
    /// What it is recognised by, 64 hex digits.
    pub fingerprint: String,
    /// Name of the machine, may be empty.
    pub hostname: String,
    /// Labels of the group's template, those that its VM may set, and the zone. Ours are not among them.
    pub labels: BTreeMap<String, String>,
    /// Annotations that Linkerd's controllers or people read. Ours are not among them.
    pub annotations: BTreeMap<String, String>,
    /// TCP ports of the application: name (may be empty), number.
    pub ports: Vec<(String, u16)>,
    /// Port of the proxy's inbound listener.
    pub proxy_inbound_port: u16,
    /// Addresses, the preferred one first.
    pub ips: Vec<IpAddr>,
    /// SPIFFE ID.
    pub identity: String,
    /// SNI of its proxy.
    pub server_name: String,
}

/// Status of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It may.
    True,
    /// It may not.
    False,
    /// Nobody knows, so it may not.
    Unknown,
}

/// The condition `Ready`: whether a workload may receive traffic through a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready {
    /// Whether it may.
    pub status: Status,
    /// Why, one word in `CamelCase`.
    pub reason: String,
    /// Why, for people; at most 256 characters. A change of it alone is never written.
    pub message: String,
}

/// What is wanted of a workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Desired {
    /// To be there.
    Present {
        /// Like this.
        spec: Arc<Spec>,
        /// With this readiness.
        ready: Ready,
    },
    /// To be as it is, but with this readiness: of a VM that nobody has a session with.
    Marked {
        /// The object that is meant; another one of that name is left alone.
        uid: String,
        /// With this readiness.
        ready: Ready,
    },
    /// To be removed, when those who send to it have had time to see that it is not ready.
    Gone {
        /// The object that is meant; `None` means whichever of ours is there.
        uid: Option<String>,
        /// Why, until then.
        ready: Ready,
    },
}

/// What the registry wants of a workload. The newest wish for a key is the one that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// Of which.
    pub key: Key,
    /// What; `None` leaves it to others from now on.
    pub desired: Option<Desired>,
}

/// What is there of a workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// uid of the object.
    pub uid: String,
    /// Its version.
    pub resource_version: String,
    /// Whether it carries our label.
    pub ours: bool,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// [`Spec::hash`] of what was last applied.
    pub applied: String,
    /// As it is.
    pub spec: Spec,
    /// Its condition `Ready`; `None` when it has none.
    pub ready: Option<Ready>,
}

/// What a store tells.
#[derive(Clone, Debug, PartialEq)]
pub enum News {
    /// These are there, and no others.
    All(BTreeMap<Key, Stored>),
    /// This one is there, made or changed by whomever.
    One(Key, Box<Stored>),
    /// This one is not there any more.
    Gone(Key),
    /// Somebody else changes this one whenever it is as wished.
    Contested(Key),
    /// A wish cannot be carried out as it is; it is tried again.
    Failed {
        /// Whose.
        key: Key,
        /// In what way.
        failure: Failure,
        /// For people.
        message: String,
    },
}

/// Why a wish cannot be carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// An object of that name is there that is not ours.
    Foreign,
    /// The store does not answer, or asks for patience.
    Unavailable,
    /// The store refuses it: rights, quota, validation.
    Refused,
}

// === impl Spec ===

impl Spec {
    /// Equal for equal content, on every replica and in every version that writes the same.
    pub fn hash(&self) -> String {
        // Of texts, numbers and sorted maps only, which cannot fail.
        let text = serde_json::to_vec(self).unwrap_or_default();
        let digest = Sha256::digest(text);
        hex::encode(digest.get(..16).unwrap_or_default())
    }
}

// === impl Status ===

impl Status {
    /// As Kubernetes writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

// === impl Ready ===

impl Ready {
    /// Of a workload that was just made. One that has no condition yet counts as this.
    pub fn starting() -> Self {
        Self {
            status: Status::False,
            reason: "Starting".to_owned(),
            message: String::new(),
        }
    }

    /// Whether a reader of conditions could tell the two apart by more than the message.
    pub fn same(&self, other: &Self) -> bool {
        self.status == other.status && self.reason == other.reason
    }
}

// === impl Stored ===

impl Stored {
    /// Whether `spec` is in effect. What others have added is theirs.
    pub fn holds(&self, spec: &Spec) -> bool {
        let within = |wanted: &BTreeMap<String, String>, there: &BTreeMap<String, String>| {
            wanted
                .iter()
                .all(|(name, value)| there.get(name) == Some(value))
        };
        let there = &self.spec;
        self.ours
            && self.applied == spec.hash()
            && within(&spec.labels, &there.labels)
            && within(&spec.annotations, &there.annotations)
            && there.group == spec.group
            && there.group_uid == spec.group_uid
            && there.fingerprint == spec.fingerprint
            && there.hostname == spec.hostname
            && there.ports == spec.ports
            && self.is_reached_as(spec)
    }

    /// Whether a peer that has it as an endpoint may keep it so under `spec`. Linkerd's destination controller never
    /// tells open streams of a change of these (`addressChanged` in its endpoint translator leaves them out).
    pub fn is_reached_as(&self, spec: &Spec) -> bool {
        const OPAQUE_PORTS: &str = "config.linkerd.io/opaque-ports";
        // A named target of a Service may be another number. And slices are grouped by their ports: a ready endpoint that
        // goes to another slice is taken for gone when the old one is written after the new one.
        let ports = |of: &Spec| of.ports.iter().cloned().collect::<BTreeSet<_>>();
        let there = &self.spec;
        there.ips == spec.ips
            && ports(there) == ports(spec)
            && there.proxy_inbound_port == spec.proxy_inbound_port
            && there.identity == spec.identity
            && there.server_name == spec.server_name
            && match spec.annotations.get(OPAQUE_PORTS) {
                Some(wanted) => there.annotations.get(OPAQUE_PORTS) == Some(wanted),
                // Once `spec` was applied, one that is left is somebody else's.
                None => {
                    !there.annotations.contains_key(OPAQUE_PORTS) || self.applied == spec.hash()
                }
            }
    }

    /// Its readiness, also where nothing was said of it yet.
    pub fn readiness(&self) -> Ready {
        self.ready.clone().unwrap_or_else(Ready::starting)
    }
}
