//! Why a VM is not served, in the closed set that harnesses know, and what it should do.

use std::fmt;
use std::time::Duration;

/// A refusal: a reason for programs, a message for people, perhaps a time to wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    reason: Reason,
    message: String,
    detail: Option<String>,
    retry_after: Option<Duration>,
    violations: Vec<Violation>,
}

/// A field of a message that is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Path of the field, e.g. `ips[0]`.
    pub field: String,
    /// What is wrong with it.
    pub problem: String,
}

/// The closed set of reasons. On the wire it is the `reason` of `google.rpc.ErrorInfo`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The connection came without a client certificate.
    NoClientIdentity,
    /// The certificate's first name is not a SPIFFE ID.
    NotSpiffe,
    /// The SPIFFE ID is of a trust domain that is not ours.
    WrongTrustDomain,
    /// The group does not let this SPIFFE ID in.
    IdentityNotAllowed,
    /// The group has as many workloads as it may have.
    GroupFull,
    /// There is no such group.
    GroupNotFound,
    /// The group is being deleted.
    GroupTerminating,
    /// The group is paused, and this VM is no member of it.
    GroupPaused,
    /// The API server does not answer.
    ApiUnavailable,
    /// The API server refuses the workload.
    ApiRefused,
    /// A field of `Hello` is not usable.
    InvalidHello,
    /// A message is too large, or none of the protocol.
    InvalidMessage,
    /// `Hello` did not come, or not first.
    NoHello,
    /// Another workload has this address.
    AddressInUse,
    /// This address is outside of the group's networks, or of those in which proxies ask for identities.
    AddressNotAllowed,
    /// Proxies could not verify this workload, so that it would be reached in plaintext or not at all.
    UnusableIdentity,
    /// This machine's identity is in use by another one that lives: a clone.
    DuplicateInstance,
    /// Every name of this workload belongs to another one.
    NameTaken,
    /// A newer stream of the same process took over.
    Superseded,
    /// Health was reported for a workload that is gone.
    StaleGeneration,
    /// Too many at once.
    RateLimited,
    /// Three heartbeats were missed.
    HeartbeatMissed,
    /// We are going down.
    Draining,
}

// === impl Refusal ===

impl Refusal {
    /// A refusal with this reason and message.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            detail: None,
            retry_after: None,
            violations: Vec::new(),
        }
    }

    /// The refusal of a message with these faults.
    pub fn invalid(violations: Vec<Violation>) -> Self {
        let list = violations
            .iter()
            .map(|violation| format!("{} {}", violation.field, violation.problem))
            .collect::<Vec<_>>();
        Self {
            violations,
            ..Self::new(Reason::InvalidHello, list.join("; "))
        }
    }

    /// The same, with the time after which a retry makes sense.
    #[must_use]
    pub fn retry_after(self, wait: Duration) -> Self {
        Self {
            retry_after: Some(wait),
            ..self
        }
    }

    /// The same, with what only the operators of this service may know: the VM may be another tenant's.
    #[must_use]
    pub fn with_detail(self, detail: impl Into<String>) -> Self {
        Self {
            detail: Some(detail.into()),
            ..self
        }
    }

    /// For programs.
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// For people.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// For the operators of this service; the message where there is no more to say.
    pub fn detail(&self) -> &str {
        self.detail.as_deref().unwrap_or(&self.message)
    }

    /// When a retry makes sense, where that is known.
    pub fn wait(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Fields at fault, of an invalid message.
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason.as_str(), self.message)
    }
}

// === impl Reason ===

impl Reason {
    /// The reason on the wire and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoClientIdentity => "NO_CLIENT_IDENTITY",
            Self::NotSpiffe => "NOT_SPIFFE",
            Self::WrongTrustDomain => "WRONG_TRUST_DOMAIN",
            Self::IdentityNotAllowed => "IDENTITY_NOT_ALLOWED",
            Self::GroupFull => "GROUP_FULL",
            Self::GroupNotFound => "GROUP_NOT_FOUND",
            Self::GroupTerminating => "GROUP_TERMINATING",
            Self::GroupPaused => "GROUP_PAUSED",
            Self::ApiUnavailable => "API_UNAVAILABLE",
            Self::ApiRefused => "API_REFUSED",
            Self::InvalidHello => "INVALID_HELLO",
            Self::InvalidMessage => "INVALID_MESSAGE",
            Self::NoHello => "NO_HELLO",
            Self::AddressInUse => "ADDRESS_IN_USE",
            Self::AddressNotAllowed => "ADDRESS_NOT_ALLOWED",
            Self::UnusableIdentity => "UNUSABLE_IDENTITY",
            Self::DuplicateInstance => "DUPLICATE_INSTANCE",
            Self::NameTaken => "NAME_TAKEN",
            Self::Superseded => "SUPERSEDED",
            Self::StaleGeneration => "STALE_GENERATION",
            Self::RateLimited => "RATE_LIMITED",
            Self::HeartbeatMissed => "HEARTBEAT_MISSED",
            Self::Draining => "DRAINING",
        }
    }
}
