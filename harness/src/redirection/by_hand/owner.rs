//! Who may change the rules: the daemon, or one command at a time. Said with locks of the kernel, which nobody can forget
//! to release.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, fchown};
use std::path::Path;
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::unistd::geteuid;
use tokio::time::{Instant, sleep};

use super::daemon;
use super::error::Error;
use super::place;

/// Locked by the daemon for as long as it runs.
const DAEMON: &str = "daemon.lock";

/// Locked by a command while it changes rules.
const COMMAND: &str = "redirect.lock";

/// A command looks for a moment only, so the daemon does not give up at once.
const DAEMON_TRIES: (u32, Duration) = (20, Duration::from_millis(50));

/// Longer than a command takes, for each program that it runs is limited in time.
const COMMAND_PATIENCE: Duration = Duration::from_secs(60);

/// Says that the daemon runs, until it is dropped.
#[derive(Debug)]
pub struct DaemonLock(#[expect(dead_code, reason = "open, it is locked")] File);

/// Keeps other commands away until it is dropped.
#[derive(Debug)]
pub(super) struct CommandLock(#[expect(dead_code, reason = "open, it is locked")] File);

/// Tells the commands that the daemon runs. `None` when another one does.
pub async fn hold_as_daemon(run_dir: &Path) -> io::Result<Option<DaemonLock>> {
    let file = for_daemon(open(run_dir, DAEMON)?, run_dir)?;
    for _ in 0..DAEMON_TRIES.0 {
        match file.try_lock() {
            Ok(()) => return Ok(Some(DaemonLock(file))),
            Err(TryLockError::WouldBlock) => sleep(DAEMON_TRIES.1).await,
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    Ok(None)
}

/// Whether the daemon runs. Makes no file.
pub(super) fn daemon_runs(run_dir: &Path) -> Result<bool, Error> {
    let path = run_dir.join(DAEMON);
    let file = match options().open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(source) => return Err(Error::File { path, source }),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(source)) => Err(Error::File { path, source }),
    }
}

/// Whether it is surely the daemon that has its lock, and not only somebody of its user.
pub(super) fn daemon_is_there(run_dir: &Path) -> bool {
    daemon_runs(run_dir).unwrap_or(false) && daemon::holds(&run_dir.join(DAEMON))
}

/// Waits for its turn, but not for ever.
pub(super) async fn hold_as_command(run_dir: &Path) -> Result<CommandLock, Error> {
    let place = place::of(run_dir);
    let failed = |source| Error::File {
        path: place.join(COMMAND),
        source,
    };
    let file = place::make(&place)
        .and_then(|()| open(&place, COMMAND))
        .and_then(only_ours)
        .map_err(failed)?;
    let deadline = Instant::now() + COMMAND_PATIENCE;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(CommandLock(file)),
            Err(TryLockError::WouldBlock) if Instant::now() >= deadline => return Err(Error::Busy),
            Err(TryLockError::WouldBlock) => sleep(DAEMON_TRIES.1).await,
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
    }
}

/// A new one is for its owner only: who may read a file may lock it, and keep all others from what the lock is for.
fn open(dir: &Path, name: &str) -> io::Result<File> {
    DirBuilder::new().recursive(true).mode(0o755).create(dir)?;
    options()
        .custom_flags((SAFELY | OFlag::O_CREAT).bits())
        .mode(0o600)
        .open(dir.join(name))
}

/// Refuses what another user made, who could lock it for ever.
fn only_ours(lock: File) -> io::Result<File> {
    let found = lock.metadata()?;
    let own = found.uid() == 0 || found.uid() == geteuid().as_raw();
    if !own || !found.is_file() || found.mode() & 0o077 != 0 {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "others can lock it: remove it",
        ));
    }
    Ok(lock)
}

/// One that root made in the directory of the daemon's user is for the daemon.
fn for_daemon(lock: File, run_dir: &Path) -> io::Result<File> {
    let (found, dir) = (lock.metadata()?, std::fs::metadata(run_dir)?);
    if geteuid().is_root() && found.uid() == 0 && dir.uid() != 0 {
        fchown(&lock, Some(dir.uid()), Some(dir.gid()))?;
    }
    Ok(lock)
}

/// The directory belongs to the daemon's user and we may be root: no link is followed and no pipe waited for.
fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(SAFELY.bits());
    options
}

const SAFELY: OFlag = OFlag::O_NOFOLLOW.union(OFlag::O_NONBLOCK);

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    use super::*;

    #[tokio::test]
    async fn commands_see_the_daemon_for_as_long_as_it_runs() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!daemon_runs(dir.path()).unwrap());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        let held = hold_as_daemon(dir.path()).await.unwrap();
        assert!(held.is_some());
        assert!(daemon_runs(dir.path()).unwrap());
        drop(held);
        assert!(!daemon_runs(dir.path()).unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn a_command_that_hangs_does_not_keep_the_others_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let run_dir = dir.path().join("run");
        let held = hold_as_command(&run_dir).await.unwrap();
        let other = hold_as_command(&run_dir).await;
        assert!(matches!(other, Err(Error::Busy)), "{other:?}");
        drop(held);
        assert!(hold_as_command(&run_dir).await.is_ok());
    }

    #[tokio::test]
    async fn a_lock_that_others_can_hold_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let run_dir = dir.path().join("run");
        let lock = place::of(&run_dir).join(COMMAND);
        drop(hold_as_command(&run_dir).await.unwrap());
        let mode = |bits| std::fs::set_permissions(&lock, PermissionsExt::from_mode(bits)).unwrap();
        assert_eq!(lock.metadata().unwrap().mode() & 0o777, 0o600);
        mode(0o644);
        assert!(hold_as_command(&run_dir).await.is_err());
        mode(0o600);
        if geteuid().is_root() {
            chown(&lock, Some(42_424), None).unwrap();
            assert!(hold_as_command(&run_dir).await.is_err());
        }
    }

    #[tokio::test]
    async fn nobody_else_may_lock_what_the_daemon_locks() {
        let dir = tempfile::tempdir().unwrap();
        let user = if geteuid().is_root() {
            chown(dir.path(), Some(42_424), None).unwrap();
            42_424
        } else {
            geteuid().as_raw()
        };
        let held = hold_as_daemon(dir.path()).await.unwrap();
        assert!(held.is_some());
        let lock = dir.path().join(DAEMON).metadata().unwrap();
        assert_eq!((lock.mode() & 0o777, lock.uid()), (0o600, user));
    }

    #[tokio::test]
    async fn a_planted_link_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let run_dir = dir.path().join("run");
        let victim = dir.path().join("victim");
        std::fs::write(&victim, "").unwrap();
        std::fs::set_permissions(&victim, PermissionsExt::from_mode(0o600)).unwrap();
        for place in [&run_dir, &place::of(&run_dir)] {
            std::fs::create_dir_all(place).unwrap();
            for name in [DAEMON, COMMAND] {
                symlink(&victim, place.join(name)).unwrap_or_default();
            }
        }
        assert!(hold_as_command(&run_dir).await.is_err());
        assert!(daemon_runs(&run_dir).is_err());
    }
}
