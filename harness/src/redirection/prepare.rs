//! What needs root before the daemon starts: `ExecStartPre=+`.

use std::path::Path;

use linkerd_harness_core::config::Redirect;
use linkerd_harness_core::redirect::backend::{Backend, Choice};
use linkerd_harness_core::redirect::{Family, GuardRail};

use super::host::Host;
use super::tools::Tools;
use super::{Removed, cleanup, legacy, lock, modules, proc_net, rails, sshd};

/// What was done and found.
#[derive(Debug)]
pub struct Prepared {
    /// The backend that the daemon will choose too; `None` when none works, which is then among the problems.
    pub choice: Option<Choice>,
    /// The ports of the SSH server, left for the daemon.
    pub ssh: Vec<GuardRail>,
    /// Rules of an earlier start, now gone.
    pub stale: Vec<Removed>,
    /// What could not be done, for people, a line each.
    pub problems: Vec<String>,
}

/// Prepares the host for a daemon whose group is `group`: removes stale rules, loads modules, shares the xtables lock,
/// finds the SSH server. `run_dir` is the unit's `RuntimeDirectory`.
///
/// Each step is tried whatever became of the others, and the daemon may start all the same: it can tell better what it
/// lacks.
pub async fn prepare(redirect: &Redirect, run_dir: &Path, group: u32) -> Prepared {
    let mut problems = Vec::new();
    let stale = cleanup(run_dir).await.unwrap_or_else(|errors| {
        problems.push(format!("cannot remove rules of an earlier start: {errors}"));
        vec![]
    });
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
    let sockets = proc_net::sockets().unwrap_or_else(|error| {
        problems.push(format!("cannot read the list of TCP sockets: {error}"));
        vec![]
    });
    let ports = sshd::find(&sockets).await;
    for left in [rails::leave(run_dir, &ports), legacy::leave(run_dir)] {
        if let Err(error) = left {
            problems.push(format!(
                "cannot write into `{}`: {error}",
                run_dir.display()
            ));
        }
    }
    let ssh = ports
        .into_iter()
        .map(|(port, found)| GuardRail::Sshd { port, found })
        .collect();
    Prepared {
        choice,
        ssh,
        stale,
        problems,
    }
}
