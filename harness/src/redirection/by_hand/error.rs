//! Why a command did not do what it was asked.

use std::io;
use std::path::PathBuf;

use crate::paths::NoProxyUser;
use crate::redirection::{self, CleanupErrors};

/// What keeps a command from its work. [`Error::hint`] knows what to type.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The rules are the daemon's.
    #[error("the daemon runs, and while it does the rules are its own")]
    DaemonRuns,
    /// Another command has been at it for a minute.
    #[error("another `linkerd-proxy-harness redirect` has been changing rules for a minute")]
    Busy,
    /// Neither root nor the two capabilities.
    #[error(
        "not allowed to change the rules of this host: CAP_NET_ADMIN and CAP_NET_RAW are missing"
    )]
    Privilege,
    /// Nothing waits to be confirmed.
    #[error("nothing waits to be confirmed")]
    NothingPending,
    /// Nobody confirmed in time.
    #[error("the rules were taken back already, for nobody confirmed them in time")]
    TooLate,
    /// Nobody to run the proxy as.
    #[error(transparent)]
    NoProxyUser(#[from] NoProxyUser),
    /// The rules could not be read or changed.
    #[error(transparent)]
    Rules(#[from] redirection::Error),
    /// Rules of ours could not be removed.
    #[error(transparent)]
    Cleanup(#[from] CleanupErrors),
    /// A file of ours could not be used.
    #[error("cannot use `{}`", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What takes the rules back did not start. Nothing was changed.
    #[error("cannot start what takes the rules back, so nothing was changed: {0}")]
    Keeper(String),
}

impl Error {
    /// What to do about it, for people.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::DaemonRuns => {
                "for a change of the configuration: systemctl restart linkerd-proxy-harness; to change rules by hand, \
                 first: systemctl stop linkerd-proxy-harness"
            }
            Self::Busy => "see which: fuser -v /run/linkerd-proxy-harness-root/redirect.lock",
            Self::Privilege => "put sudo in front of the command",
            Self::File { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                "put sudo in front of the command"
            }
            Self::Rules(error) => return error.hint().map(std::borrow::Cow::into_owned),
            Self::NothingPending => "see what is there: sudo harnessctl redirect diff",
            Self::TooLate => "linkerd-proxy-harness redirect apply --confirm=60s",
            Self::NoProxyUser(_) | Self::Cleanup(_) | Self::File { .. } | Self::Keeper(_) => {
                return None;
            }
        };
        Some(text.to_owned())
    }

    /// The exit code of a command that fails so (`sysexits.h`).
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::DaemonRuns | Self::Busy | Self::NothingPending | Self::TooLate => 1,
            Self::NoProxyUser(_) => 78,
            Self::Rules(error) => error.exit_code(),
            Self::Cleanup(errors) => errors
                .errors()
                .iter()
                .map(redirection::Error::exit_code)
                .max()
                .unwrap_or(1),
            Self::Privilege | Self::File { .. } | Self::Keeper(_) => 71,
        }
    }
}
