//! A host of the lab: something with a shell and an address.

use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::exec::{self, Answer};
use crate::poll;

/// No command of the lab takes longer, in seconds; one that hangs is ended and its test fails.
const LONGEST_COMMAND: &str = "180";

/// A VM or a bare network namespace.
pub trait Host {
    /// Its host name.
    fn name(&self) -> &str;

    /// The words that go before a command to run it there.
    fn entrance(&self) -> Result<Vec<String>>;

    /// Runs `command` in a root shell there, as if typed.
    fn sh(&self, command: &str) -> Result<Answer> {
        let mut entered = Command::new("timeout");
        entered
            .args(["-k", "5", LONGEST_COMMAND])
            .args(self.entrance()?);
        // A login's environment and nothing of ours.
        entered.args(["env", "-i", "HOME=/root", "LANG=C.UTF-8", "TERM=dumb"]);
        entered.arg("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        entered.args(["/bin/bash", "-c", command]);
        exec::run_as(&mut entered, command)
    }

    /// Runs `command` there and insists on success; its standard output without the last line end.
    fn get(&self, command: &str) -> Result<String> {
        Ok(self.sh(command)?.ok()?.stdout.trim_end().to_owned())
    }

    /// Repeats `command` until it succeeds and `good` likes what it printed.
    fn eventually(
        &self,
        command: &str,
        patience: Duration,
        good: impl Fn(&str) -> bool,
    ) -> Result<Answer>
    where
        Self: Sized,
    {
        poll::until(&format!("`{command}` on {}", self.name()), patience, || {
            let answer = self.sh(command)?.ok()?;
            anyhow::ensure!(
                good(&answer.stdout),
                "it printed:\n{}",
                exec::indented(&answer.text())
            );
            Ok(answer)
        })
    }
}
