//! How the keeper is started so that nothing but the machine's end takes it down.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::super::error::Error;
use super::super::pending::{self, Id, Word};
use super::super::place;
use super::super::privilege;
use crate::redirection::exec;

/// For the keeper to say that it is there.
const PATIENCE: Duration = Duration::from_secs(10);

/// Starts it and waits until it watches. Gives what an operator should know.
pub(in super::super) async fn start(
    id: &Id,
    after: Duration,
    run_dir: &Path,
) -> Result<Vec<String>, Error> {
    let program = std::env::current_exe().map_err(|error| Error::Keeper(error.to_string()))?;
    let mut remarks = Vec::new();
    let mut child = None;
    let by_systemd = match systemd_run() {
        Some(systemd_run) => {
            let words = service(&program, id, after, run_dir);
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let started = exec::run(&systemd_run, &words, "").await;
            if let Err(error) = &started {
                remarks.push(format!(
                    "a logout may end what takes the rules back, for systemd did not start it: {error}"
                ));
            }
            started.is_ok()
        }
        None => false,
    };
    if !by_systemd {
        child = Some(detached(&program, id, after, run_dir)?);
    }
    let holds = place::of(run_dir);
    let deadline = Instant::now() + PATIENCE;
    while !pending::is_said(&holds, Word::Watched, id) {
        let ended = child.as_mut().and_then(|child| child.try_wait().ok()?);
        if let Some(status) = ended {
            return Err(Error::Keeper(format!("it ended ({status})")));
        }
        if Instant::now() >= deadline {
            return Err(Error::Keeper("it does not report".to_owned()));
        }
        sleep(Duration::from_millis(10)).await;
    }
    Ok(remarks)
}

/// A child that makes a session of its own. Nobody waits for it: it outlives us.
fn detached(program: &Path, id: &Id, after: Duration, run_dir: &Path) -> Result<Child, Error> {
    Command::new(program)
        .args(arguments(id, after))
        .env("RUNTIME_DIRECTORY", run_dir)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| Error::Keeper(error.to_string()))
}

/// A child of ours would be in the session's cgroup, which logind may kill as a whole (`KillUserProcesses=`).
fn systemd_run() -> Option<PathBuf> {
    let runs = Path::new("/run/systemd/system").is_dir();
    // What systemd starts is in its own namespaces. In another network it would change other rules than we did.
    let same = |namespace: &str| {
        let of = |process: &str| -> Option<PathBuf> {
            std::fs::read_link(format!("/proc/{process}/ns/{namespace}")).ok()
        };
        of("1").is_some_and(|theirs| Some(theirs) == of("self"))
    };
    (runs && privilege::is_root() && same("net") && same("mnt"))
        .then(|| exec::find("systemd-run"))
        .flatten()
}

fn service(program: &Path, id: &Id, after: Duration, run_dir: &Path) -> Vec<String> {
    let mut words = vec![
        "--collect".to_owned(),
        "--quiet".to_owned(),
        format!("--unit=linkerd-proxy-harness-take-back-{id}"),
        "--description=Takes redirection back unless it is confirmed".to_owned(),
        format!("--setenv=RUNTIME_DIRECTORY={}", run_dir.display()),
        "--".to_owned(),
        program.display().to_string(),
    ];
    words.extend(arguments(id, after));
    words
}

/// As the command line knows them; no one types this.
fn arguments(id: &Id, after: Duration) -> [String; 4] {
    [
        "redirect".to_owned(),
        "take-back".to_owned(),
        format!("--id={id}"),
        format!("--after={}ms", after.as_millis()),
    ]
}
