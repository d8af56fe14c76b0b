//! An exec probe: a program of this host, run as the proxy's user; that it ends with 0 in time passes.
//!
//! The words come from the cluster, so the host's operator decides whether there are any (`Health.AllowExecProbes`). No
//! shell, no capability, nothing of our environment, no input. The program has a process group of its own, and nothing of
//! that group outlives the run, however it ended; only who leaves the group (`setsid`) lives on, until the unit stops.

mod output;

use std::io;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use nix::sys::signal::{Signal as Sent, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;
use tokio::process::Child;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::timeout;

use crate::causes::one_line;
use crate::unprivileged;
use output::Output;

/// All of the environment: programs that look for others find those of the distribution.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A killed process ends at once, unless it waits for a disk or a network file system.
const LAST_BREATH: Duration = Duration::from_secs(1);

/// Runs a program again and again, never twice at once.
#[derive(Debug)]
pub(super) struct Runner {
    user_id: u32,
    /// Was killed and has not ended.
    left: Option<Group>,
}

/// A program and all that it started. Kills all of it when dropped.
#[derive(Debug)]
struct Group {
    child: Child,
    /// The program's process, and so the group's number. `None` once it was waited for: the number may be another's then.
    leader: Option<Pid>,
}

/// How a run came to its end.
enum End {
    /// By itself.
    Exited,
    TimedOut,
    /// It wrote more than anybody would read.
    TooMuch,
}

// === impl Runner ===

impl Runner {
    pub(super) fn new(user_id: u32) -> Self {
        Self {
            user_id,
            left: None,
        }
    }

    /// Runs it once.
    pub(super) async fn check(
        &mut self,
        command: &[String],
        limit: Duration,
    ) -> Result<String, String> {
        if let Some(left) = &mut self.left {
            if !left.has_ended() {
                return Err("an earlier run was killed and has not ended yet".to_owned());
            }
            self.left = None;
        }
        let failed = |error: io::Error| format!("cannot be run: {error}");
        // Before the program: its end must not be missed.
        let mut ends = signal(SignalKind::child()).map_err(failed)?;
        let (mut group, mut output) = self.start(command)?;
        let end = tokio::select! {
            ended = group.exited(&mut ends) => ended.map(|()| End::Exited).map_err(failed)?,
            () = output.read_on() => End::TooMuch,
            () = tokio::time::sleep(limit) => End::TimedOut,
        };
        group.kill();
        let status = timeout(LAST_BREATH, group.wait()).await;
        output.read_rest();
        let said = output.last_words();
        let Ok(status) = status else {
            self.left = Some(group);
            return Err(with("killed, but has not ended yet".to_owned(), &said));
        };
        let status = status.map_err(failed)?;
        match end {
            End::Exited if status.success() => Ok(with("success".to_owned(), &said)),
            End::Exited => Err(with(status.to_string(), &said)),
            End::TimedOut => Err(with(
                format!("not ended in {} s, killed", limit.as_secs()),
                &said,
            )),
            End::TooMuch => Err(with(
                format!("wrote more than {} KiB, killed", output::MOST / 1024),
                &said,
            )),
        }
    }

    fn start(&self, command: &[String]) -> Result<(Group, Output), String> {
        let (program, arguments) = command.split_first().ok_or("no program")?;
        let mut command = unprivileged::command(Path::new(program), self.user_id)
            .map_err(|error| format!("cannot be run: {}", one_line(&error)))?;
        let failed = |error: io::Error| format!("cannot be run: {error}");
        let (output, [out, err]) = Output::new().map_err(failed)?;
        let child = command
            .args(arguments)
            .env("PATH", PATH)
            .stdout(out)
            .stderr(err)
            .spawn()
            .map_err(failed)?;
        Ok((Group::new(child), output))
    }
}

fn with(what: String, said: &str) -> String {
    if said.is_empty() {
        what
    } else {
        format!("{what}: {said}")
    }
}

// === impl Group ===

impl Group {
    fn new(child: Child) -> Self {
        let leader = child.id().and_then(|id| i32::try_from(id).ok());
        Self {
            child,
            leader: leader.map(Pid::from_raw),
        }
    }

    /// Waits for the program's end, but leaves it to be waited for: as long as it is, its number is nobody else's, and the
    /// rest of the group can be killed by it.
    async fn exited(&self, ends: &mut Signal) -> io::Result<()> {
        let Some(leader) = self.leader else {
            return Ok(());
        };
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        while waitid(Id::Pid(leader), flags)? == WaitStatus::StillAlive {
            ends.recv().await;
        }
        Ok(())
    }

    fn kill(&self) {
        if let Some(leader) = self.leader {
            // That there is nobody left to kill is what we want.
            killpg(leader, Sent::SIGKILL).unwrap_or_default();
        }
    }

    async fn wait(&mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait().await;
        self.leader = None;
        status
    }

    fn has_ended(&mut self) -> bool {
        let ended = !matches!(self.child.try_wait(), Ok(None));
        if ended {
            self.leader = None;
        }
        ended
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests;
