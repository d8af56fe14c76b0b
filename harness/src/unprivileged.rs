//! How the daemon starts what is not its own program, the proxy and the group's exec probes: another user if we are root, no
//! capability, nothing inherited, a process group of its own.

use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

use nix::unistd::{Uid, User, geteuid};
use tokio::process::Command;

/// Where util-linux puts it. Not searched in PATH: it decides what the child may do.
const SETPRIV: [&str; 2] = ["/usr/bin/setpriv", "/bin/setpriv"];

/// Why a program cannot be started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("there is no such file")]
    Missing,
    #[error("cannot be looked at")]
    Look(#[source] io::Error),
    #[error("it is no file")]
    NoFile,
    #[error("it is not executable: chmod 755")]
    NotExecutable,
    #[error("`setpriv` is missing: install the package util-linux")]
    NoSetpriv,
    #[error("it has to run as uid {wanted}, which uid {we} cannot start")]
    OtherUser { wanted: Uid, we: Uid },
}

/// The command that becomes `program` by `exec`, run by the user. Its input is empty and its environment is too; its output
/// is the caller's to decide.
pub(crate) fn command(program: &Path, user_id: u32) -> Result<Command, Error> {
    check(program)?;
    let setpriv = SETPRIV
        .into_iter()
        .find(|path| Path::new(path).exists())
        .ok_or(Error::NoSetpriv)?;
    let mut command = Command::new(setpriv);
    command
        .args(privileges(user_id)?)
        .arg("--")
        .arg(program)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::null())
        // Ctrl-C on a terminal is for us; we stop the child when its turn comes.
        .process_group(0)
        .kill_on_drop(true);
    Ok(command)
}

/// Missing or unusable programs are told before `exec`, where only a number would come back.
fn check(program: &Path) -> Result<(), Error> {
    match program.metadata() {
        Err(error) if error.kind() == ErrorKind::NotFound => Err(Error::Missing),
        Err(error) => Err(Error::Look(error)),
        Ok(found) if !found.is_file() => Err(Error::NoFile),
        Ok(found) if found.permissions().mode() & 0o111 == 0 => Err(Error::NotExecutable),
        Ok(_) => Ok(()),
    }
}

/// What `setpriv` takes from the child.
///
/// Ambient capabilities are what the unit gives the daemon; without them and with no file capabilities
/// (`--no-new-privs`) the child has none. The bounding set can be emptied by root only.
///
/// The death signal is SIGKILL: when the daemon is killed nobody watches the proxy and the next daemon needs its
/// ports, which a draining proxy would hold for the whole grace period. systemd ends the rest of the unit with the
/// same signal (`KillMode=mixed`). It fires when the thread that spawned the child ends, so the daemon's runtime must
/// have one thread that lasts. A change of user would clear it; `setpriv` sets it after that.
fn privileges(user_id: u32) -> Result<Vec<String>, Error> {
    let mut arguments: Vec<String> = [
        "--inh-caps=-all",
        "--ambient-caps=-all",
        "--no-new-privs",
        "--pdeathsig=KILL",
    ]
    .map(str::to_owned)
    .into();
    let (we, wanted) = (geteuid(), Uid::from_raw(user_id));
    if we.is_root() {
        arguments.extend([
            "--bounding-set=-all".to_owned(),
            "--clear-groups".to_owned(),
            format!("--regid={}", group_of(wanted)),
            format!("--reuid={wanted}"),
        ]);
    } else if we != wanted {
        return Err(Error::OtherUser { wanted, we });
    }
    Ok(arguments)
}

/// Primary group of the user; of a user without a name, the group with the same number.
fn group_of(user: Uid) -> u32 {
    let found = User::from_uid(user).ok().flatten();
    found.map_or(user.as_raw(), |found| found.gid.as_raw())
}
