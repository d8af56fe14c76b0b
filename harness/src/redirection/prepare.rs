//! What needs root before the daemon starts: `ExecStartPre=+`.

use std::path::Path;
use std::time::Duration;

use linkerd_harness_core::config::{FailurePolicy, Redirect};
use linkerd_harness_core::redirect::Family;
use linkerd_harness_core::redirect::backend::{Backend, Choice};
use tokio::time::timeout;

use super::found::Found;
use super::host::Host;
use super::tools::Tools;
use super::{Removed, cleanup, closed, legacy, lock, modules};
use crate::paths;

/// For the look into other processes: the unit must not run into its `TimeoutStartSec=`, whatever they do.
const PATIENCE: Duration = Duration::from_secs(10);

/// What was done and found.
#[derive(Debug)]
pub struct Prepared {
    /// The backend that the daemon will choose too; `None` when none works, which is then among the problems.
    pub choice: Option<Choice>,
    /// Rules of an earlier start, now gone.
    pub stale: Vec<Removed>,
    /// What could not be done, for people, a line each.
    pub problems: Vec<String>,
}

/// Prepares the host for a daemon whose group is `group`: removes stale rules, loads modules, shares the xtables lock,
/// finds the guard rails. `api` is the Workload API's socket, `run_dir` the unit's `RuntimeDirectory`. Under
/// `FailurePolicy: closed` no rule is stale: [`hold`](super::hold) takes over what an earlier daemon left.
///
/// Each step is tried whatever became of the others, and the daemon may start all the same: it can tell better what it
/// lacks.
pub async fn prepare(redirect: &Redirect, api: &Path, run_dir: &Path, group: u32) -> Prepared {
    let mut problems = Vec::new();
    let answers = paths::roots(run_dir);
    let cannot_write = |error| format!("cannot write into `{}`: {error}", answers.display());
    problems.extend(
        closed::mark(&answers, redirect.failure_policy)
            .err()
            .map(cannot_write),
    );
    let stale = match redirect.failure_policy {
        FailurePolicy::Open => cleanup(run_dir).await.unwrap_or_else(|errors| {
            problems.push(format!("cannot remove rules of an earlier start: {errors}"));
            vec![]
        }),
        FailurePolicy::Closed => vec![],
    };
    let mut prepared = find_out(redirect, api, run_dir, group).await;
    prepared.problems.splice(..0, problems);
    Prepared { stale, ..prepared }
}

/// The same, with the rules left as they are.
pub(super) async fn find_out(
    redirect: &Redirect,
    api: &Path,
    run_dir: &Path,
    group: u32,
) -> Prepared {
    let mut problems = Vec::new();
    let roots = paths::roots(run_dir);
    let cannot_write = |error| format!("cannot write into `{}`: {error}", roots.display());
    let choice = match Host::open(redirect.mode, run_dir).await {
        Ok((_, choice)) => Some(choice),
        Err(error) => {
            problems.push(error.in_full());
            None
        }
    };
    if let Some(choice) = choice {
        modules::load(choice.backend, redirect.ipv6).await;
    }
    // Also on a host that uses nft: the daemon looks for leftovers in both, and the mode may change.
    if Tools::find(Backend::Legacy, Family::V4).await.is_some()
        && let Err(error) = lock::share(Path::new(lock::FILE), group)
    {
        problems.push(format!(
            "cannot let group {group} lock `{}`: {error}",
            lock::FILE
        ));
    }
    problems.extend(look(api, run_dir).await);
    problems.extend(legacy::leave(run_dir).err().map(cannot_write));
    Prepared {
        choice,
        stale: vec![],
        problems,
    }
}

/// The part that is done again while the daemon runs: finds the guard rails and leaves them for it. Answers what could not
/// be done.
pub async fn look(api: &Path, run_dir: &Path) -> Option<String> {
    look_for(PATIENCE, api, run_dir).await
}

async fn look_for(patience: Duration, api: &Path, run_dir: &Path) -> Option<String> {
    let answers = paths::roots(run_dir);
    let left = match timeout(patience, Found::look(api)).await {
        Ok(Ok(found)) => found.leave(&answers),
        Ok(Err(error)) => return Some(format!("cannot look at the host's sockets: {error}")),
        Err(_) => {
            return Some(format!(
                "gave up looking for sshd and SPIRE after {} s; what was found before holds",
                patience.as_secs()
            ));
        }
    };
    let error = left.err()?;
    Some(format!(
        "cannot write into `{}`: {error}",
        answers.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_look_that_takes_too_long_leaves_what_was_found_before() {
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path().join("run");
        let (api, answers) = (dir.path().join("api.sock"), paths::roots(&run));
        let before = Found {
            spire_server: Some("spire.example:8081".parse().unwrap()),
            ..Found::left(&answers)
        };
        before.leave(&answers).unwrap();
        let problem = look_for(Duration::ZERO, &api, &run).await.unwrap();
        assert!(problem.contains("gave up"), "{problem}");
        assert_eq!(Found::read(&answers).unwrap(), before);
        assert_eq!(look(&api, &run).await, None);
        assert_ne!(Found::read(&answers).unwrap(), before);
        assert!(!run.exists(), "nothing lies with the daemon's user");
    }
}
