//! How the child is ended, and what its end means.

use std::process::ExitStatus;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::Child;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, info, warn};

use super::super::exit;
use super::super::listening::is_listening;
use super::super::output::Output;
use super::super::state::{Failure, Reason, State};
use super::{Ended, Run};

/// What is left to read after the child's exit comes at once.
const LAST_WORDS: Duration = Duration::from_millis(200);

impl Run<'_> {
    /// Ends the child: gracefully if it was ever certified. A proxy without a certificate would use up the whole
    /// grace period, because its start holds it open.
    pub(super) async fn stop(mut self, pid: u32, mut child: Child, mut output: Output) {
        let grace = self.config.proxy.shutdown_grace + self.timing.stop_margin;
        self.publish(State::Stopping { pid });
        let deadline = if self.certified {
            info!(pid, grace = ?self.config.proxy.shutdown_grace, "proxy stopping");
            signal(pid, Signal::SIGTERM);
            Instant::now() + grace
        } else {
            Instant::now()
        };
        let status = loop {
            tokio::select! {
                biased;
                status = child.wait() => break status,
                () = sleep_until(deadline) => {
                    if self.certified {
                        warn!(pid, "proxy did not stop in its grace period, killing it");
                    }
                    break reap(&mut child).await;
                }
                Some(line) = output.next() => {
                    line.log();
                    self.seen.take(&line);
                }
            }
        };
        self.read_to_end(&mut output).await;
        debug!(pid, status = ?status, "proxy ended");
    }

    pub(super) async fn kill(
        mut self,
        mut child: Child,
        mut output: Output,
        reason: Reason,
    ) -> Ended {
        if let Err(error) = reap(&mut child).await {
            warn!(%error, "cannot wait for the proxy");
        }
        self.read_to_end(&mut output).await;
        let taken = reason == Reason::Panicked && self.port_taken().await;
        let reason = if taken { Reason::PortTaken } else { reason };
        let detail = self.seen.last_words(true).unwrap_or_default().to_owned();
        self.failed(Failure::new(reason, &self.launch.program, detail))
    }

    pub(super) async fn explain(self, status: std::io::Result<ExitStatus>) -> Ended {
        let status = match status {
            Ok(status) => status,
            Err(error) => {
                let failure = Failure::new(Reason::Exited, &self.launch.program, error.to_string());
                return self.failed(failure);
            }
        };
        let reason = exit::reason(status, self.port_taken().await);
        let mut detail = exit::describe(status);
        let panicked = matches!(reason, Reason::Panicked | Reason::PortTaken);
        if let Some(words) = self.seen.last_words(panicked) {
            detail = format!("{detail}: {words}");
        }
        self.failed(Failure::new(reason, &self.launch.program, detail))
    }

    /// Whether another process holds one of the ports, now that ours is gone.
    async fn port_taken(&self) -> bool {
        let proxy = &self.config.proxy;
        let addresses = [proxy.inbound_listen, proxy.admin_listen];
        for address in addresses.iter().chain(&proxy.outbound_listen) {
            if is_listening(address.port(), self.timing.look_timeout).await {
                return true;
            }
        }
        false
    }

    pub(super) async fn read_to_end(&mut self, output: &mut Output) {
        // Ends at once unless the child left its output to a child of its own.
        while let Ok(Some(line)) = timeout(LAST_WORDS, output.next()).await {
            line.log();
            self.seen.take(&line);
        }
    }

    pub(super) fn failed(&self, failure: Failure) -> Ended {
        let served = self
            .serving
            .map_or(Duration::ZERO, |(_, since)| since.elapsed());
        Ended::Failed { failure, served }
    }
}

/// SIGKILL, and wait: the ports are free only when the process is gone.
async fn reap(child: &mut Child) -> std::io::Result<ExitStatus> {
    child.start_kill()?;
    child.wait().await
}

/// To a child that was not waited for, so the number is still its own.
fn signal(pid: u32, signal: Signal) {
    let Ok(pid) = i32::try_from(pid) else { return };
    if let Err(error) = kill(Pid::from_raw(pid), signal) {
        debug!(pid, %error, "cannot signal the proxy");
    }
}
