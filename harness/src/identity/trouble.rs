//! Why there is no usable identity: a closed set of reasons, each with words that say what to do.

use std::error::Error;
use std::io::ErrorKind;
use std::path::Path;

use spiffe::WorkloadApiError;
use spiffe::transport::TransportError;

use crate::causes::{causes, one_line};

/// What is wrong, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Which of the closed set.
    pub reason: Reason,
    /// For people.
    pub message: String,
}

/// Every way in which an identity can be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The agent's socket does not exist.
    SocketMissing,
    /// The socket exists, nobody listens.
    SocketRefused,
    /// This user may not open the socket.
    SocketForbidden,
    /// SPIRE has no registration entry for this process.
    NoEntry,
    /// SPIRE refuses for another cause.
    Denied,
    /// The agent cannot answer now.
    AgentUnavailable,
    /// The agent ended the stream.
    StreamEnded,
    /// SPIRE gives identities, but not the configured one.
    WrongSpiffeId,
    /// SPIRE gives several identities and none is configured.
    SeveralIdentities,
    /// The SVID has an RSA key, with which no Linkerd peer will accept us.
    RsaKey,
    /// The SVID's first name is a DNS name, which Linkerd would take for our identity.
    DnsNameFirst,
    /// The SVID does not chain to the trust anchors.
    Untrusted,
    /// The SVID's life is over, by this host's clock.
    Expired,
    /// The SVID's life has not begun, by this host's clock.
    NotYetValid,
    /// Key and certificate do not belong together.
    KeyMismatch,
    /// The agent sent something that is no X.509 SVID.
    Malformed,
    /// The file named by `Identity.TrustAnchors` cannot be used.
    TrustAnchorsUnreadable,
}

impl Reason {
    /// CamelCase, for status and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SocketMissing => "SocketMissing",
            Self::SocketRefused => "SocketRefused",
            Self::SocketForbidden => "SocketForbidden",
            Self::NoEntry => "NoEntry",
            Self::Denied => "Denied",
            Self::AgentUnavailable => "AgentUnavailable",
            Self::StreamEnded => "StreamEnded",
            Self::WrongSpiffeId => "WrongSpiffeId",
            Self::SeveralIdentities => "SeveralIdentities",
            Self::RsaKey => "RsaKey",
            Self::DnsNameFirst => "DnsNameFirst",
            Self::Untrusted => "Untrusted",
            Self::Expired => "Expired",
            Self::NotYetValid => "NotYetValid",
            Self::KeyMismatch => "KeyMismatch",
            Self::Malformed => "Malformed",
            Self::TrustAnchorsUnreadable => "TrustAnchorsUnreadable",
        }
    }
}

impl Trouble {
    /// A reason with its words.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
        }
    }

    /// What an error of the Workload API means to an operator.
    pub(super) fn from_workload_api(error: &WorkloadApiError, socket: &Path) -> Self {
        let socket = socket.display();
        let uid = nix::unistd::geteuid();
        match error {
            WorkloadApiError::NoIdentityIssued => Self::new(
                Reason::NoEntry,
                format!(
                    "SPIRE has no registration entry for uid {uid}; on the SPIRE server type: spire-server entry create \
                     -parentID <this VM's agent> -spiffeID spiffe://<trust domain>/proxy-harness -selector unix:uid:{uid} \
                     (a new entry takes about 10 s to get here)"
                ),
            ),
            WorkloadApiError::PermissionDenied(why) => Self::new(
                Reason::Denied,
                format!("the SPIRE agent refuses uid {uid}: {why}"),
            ),
            WorkloadApiError::Transport(TransportError::Connect(connect)) => match io_kind(connect)
            {
                Some(ErrorKind::NotFound) => Self::new(
                    Reason::SocketMissing,
                    format!(
                        "no SPIRE agent socket at `{socket}`; start spire-agent, or name its socket: \
                         harnessctl set-config --identity-spire-socket-address=PATH"
                    ),
                ),
                Some(ErrorKind::ConnectionRefused) => Self::new(
                    Reason::SocketRefused,
                    format!(
                        "nobody listens on the SPIRE agent socket `{socket}`; is spire-agent running?"
                    ),
                ),
                Some(ErrorKind::PermissionDenied) => Self::new(
                    Reason::SocketForbidden,
                    format!(
                        "uid {uid} may not open the SPIRE agent socket `{socket}`; each directory above it needs mode 0755"
                    ),
                ),
                _ => Self::new(
                    Reason::AgentUnavailable,
                    format!(
                        "cannot reach the SPIRE agent at `{socket}`: {}",
                        one_line(error)
                    ),
                ),
            },
            WorkloadApiError::Transport(_) => Self::new(
                Reason::AgentUnavailable,
                format!(
                    "the SPIRE agent at `{socket}` cannot answer: {}",
                    one_line(error)
                ),
            ),
            WorkloadApiError::EmptyResponse => Self::new(
                Reason::StreamEnded,
                "the SPIRE agent ended the stream without an identity",
            ),
            _ => Self::new(
                Reason::Malformed,
                format!(
                    "the SPIRE agent sent no usable X.509 SVID: {}",
                    one_line(error)
                ),
            ),
        }
    }
}

fn io_kind(error: &(dyn Error + 'static)) -> Option<ErrorKind> {
    causes(error)
        .filter_map(|error| error.downcast_ref::<std::io::Error>())
        .map(std::io::Error::kind)
        .last()
}
