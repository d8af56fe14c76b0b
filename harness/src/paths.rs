//! Where the daemon keeps things, and as whom the proxy runs.

use std::env;
use std::path::{Path, PathBuf};

use nix::unistd::{User, geteuid};

/// The user that the package makes.
const USER: &str = "proxyharness";

/// Directories; systemd's `STATE_DIRECTORY` and `RUNTIME_DIRECTORY` win over the documented places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// Survives a reboot.
    pub state: PathBuf,
    /// Does not.
    pub runtime: PathBuf,
}

/// Nobody to run the proxy as.
#[derive(Debug, thiserror::Error)]
#[error(
    "there is no user `{USER}` to run the proxy as; install the package, or: harnessctl set-config --proxy-user-id=UID"
)]
pub struct NoProxyUser;

impl Paths {
    /// As systemd says, else the documented places.
    pub fn from_environment() -> Self {
        let directory = |name: &str, default: &str| {
            env::var_os(name).map_or_else(|| default.into(), PathBuf::from)
        };
        Self {
            state: directory("STATE_DIRECTORY", "/var/lib/linkerd"),
            runtime: directory("RUNTIME_DIRECTORY", "/run/linkerd-proxy-harness"),
        }
    }

    /// [`roots`].
    pub fn roots(&self) -> PathBuf {
        roots(&self.runtime)
    }

    /// The last assignment.
    pub fn assignment(&self) -> PathBuf {
        self.state.join("assignment.json")
    }
}

/// Root's own directory, beside the one that is the daemon's: what the daemon shall believe, and what waits to be confirmed.
/// In its own the daemon's user could delete and lock what is there, and systemd gives all files to him when it finds that
/// the directory is root's.
pub fn roots(runtime: &Path) -> PathBuf {
    let mut path = runtime.as_os_str().to_owned();
    path.push("-root");
    path.into()
}

/// The uid of the proxy: configured, else that of the package's user, else our own unless we are root.
///
/// # Errors
/// [`NoProxyUser`].
pub fn proxy_user(configured: Option<u32>) -> Result<u32, NoProxyUser> {
    let of_package = || {
        User::from_name(USER)
            .ok()
            .flatten()
            .map(|user| user.uid.as_raw())
    };
    let own = || {
        Some(geteuid())
            .filter(|uid| !uid.is_root())
            .map(nix::unistd::Uid::as_raw)
    };
    configured
        .or_else(of_package)
        .or_else(own)
        .ok_or(NoProxyUser)
}

/// The group of the package's user, else our own.
pub fn proxy_group() -> u32 {
    let user = User::from_name(USER).ok().flatten();
    user.map_or_else(nix::unistd::getegid, |user| user.gid)
        .as_raw()
}
