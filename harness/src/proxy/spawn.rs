//! Starts the child: another user if we are root, no capability, nothing inherited, no orphan.

use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

use nix::unistd::{Uid, User, geteuid};
use tokio::process::{Child, Command};

use super::Launch;
use super::output::Output;
use super::state::{Failure, Reason};

/// Where util-linux puts it. Not searched in PATH: it decides what the proxy may do.
const SETPRIV: [&str; 2] = ["/usr/bin/setpriv", "/bin/setpriv"];

/// Starts the proxy. The process that runs is the proxy itself: `setpriv` becomes it by `exec`.
pub(super) fn spawn(launch: &Launch) -> Result<(Child, Output), Failure> {
    check_program(&launch.program)?;
    let failed = |why: String| Failure::new(Reason::CannotExecute, &launch.program, why);
    let setpriv = SETPRIV
        .into_iter()
        .find(|path| Path::new(path).exists())
        .ok_or_else(|| failed("`setpriv` is missing: install the package util-linux".to_owned()))?;
    let mut child = Command::new(setpriv)
        .args(privileges(launch)?)
        .arg("--")
        .arg(&launch.program)
        .env_clear()
        .envs(&launch.environment)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Ctrl-C on a terminal is for us; we stop the proxy when its turn comes.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| failed(format!("`{setpriv}`: {error}")))?;
    let output = Output::new(child.stdout.take(), child.stderr.take());
    Ok((child, output))
}

/// Missing or unusable programs are told before `exec`, where only a number would come back.
fn check_program(program: &Path) -> Result<(), Failure> {
    let failed = |reason, why: String| Err(Failure::new(reason, program, why));
    match program.metadata() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            failed(Reason::ProgramMissing, String::new())
        }
        Err(error) => failed(Reason::CannotExecute, error.to_string()),
        Ok(found) if !found.is_file() => failed(Reason::CannotExecute, "it is no file".to_owned()),
        Ok(found) if found.permissions().mode() & 0o111 == 0 => failed(
            Reason::CannotExecute,
            "it is not executable: chmod 755".to_owned(),
        ),
        Ok(_) => Ok(()),
    }
}

/// What `setpriv` takes from the child.
///
/// Ambient capabilities are what the unit gives the daemon; without them and with no file capabilities
/// (`--no-new-privs`) the proxy has none. The bounding set can be emptied by root only.
///
/// The death signal is SIGKILL: when the daemon is killed nobody watches the proxy and the next daemon needs its
/// ports, which a draining proxy would hold for the whole grace period. systemd ends the rest of the unit with the
/// same signal (`KillMode=mixed`). It fires when the thread that spawned the child ends, so the daemon's runtime must
/// have one thread that lasts. A change of user would clear it; `setpriv` sets it after that.
fn privileges(launch: &Launch) -> Result<Vec<String>, Failure> {
    let mut arguments: Vec<String> = [
        "--inh-caps=-all",
        "--ambient-caps=-all",
        "--no-new-privs",
        "--pdeathsig=KILL",
    ]
    .map(str::to_owned)
    .into();
    let (we, wanted) = (geteuid(), Uid::from_raw(launch.user_id));
    if we.is_root() {
        arguments.extend([
            "--bounding-set=-all".to_owned(),
            "--clear-groups".to_owned(),
            format!("--regid={}", group_of(wanted)),
            format!("--reuid={wanted}"),
        ]);
    } else if we != wanted {
        let why = format!("it has to run as uid {wanted}, which uid {we} cannot start");
        return Err(Failure::new(Reason::CannotExecute, &launch.program, why));
    }
    Ok(arguments)
}

/// Primary group of the user; of a user without a name, the group with the same number.
fn group_of(user: Uid) -> u32 {
    let found = User::from_uid(user).ok().flatten();
    found.map_or(user.as_raw(), |found| found.gid.as_raw())
}
