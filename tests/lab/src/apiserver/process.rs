//! A program that ends with us, however we end.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::{Context as _, Result};
use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;

use crate::exec;

/// A running program.
#[derive(Debug)]
pub(crate) struct Process {
    child: Mutex<Child>,
    log: PathBuf,
    /// Dropped, it lets the thread go that the kernel takes for the program's parent.
    _parent: mpsc::Sender<()>,
}

// === impl Process ===

impl Process {
    /// Starts `command` in `dir`. The kernel kills it when we are killed.
    pub(crate) fn start(command: &Command, dir: &Path, log: &str) -> Result<Self> {
        let log = dir.join(log);
        let output = File::create(&log).with_context(|| format!("make `{}`", log.display()))?;
        let mut bound = Command::new("setpriv");
        bound
            .args(["--pdeathsig", "KILL", "--"])
            .arg(command.get_program())
            .args(command.get_args())
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(output.try_clone().context("share the log")?)
            .stderr(output);
        let (parent, end) = mpsc::channel::<()>();
        let (started, starting) = mpsc::channel();
        // The parent whose death counts is a thread, not a process; one of a test may end earlier than the program should.
        thread::spawn(move || {
            if started.send(bound.spawn()).is_ok() {
                // An error: the sender is gone, so is the program.
                let _gone = end.recv();
            }
        });
        let child = starting
            .recv()
            .context("start a program")?
            .with_context(|| format!("start `{}`", exec::typed(command)))?;
        Ok(Self {
            child: Mutex::new(child),
            log,
            _parent: parent,
        })
    }

    pub(crate) fn has_ended(&self) -> bool {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        !matches!(child.try_wait(), Ok(None))
    }

    /// All that it has said.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The end of its log.
    pub(crate) fn last_words(&self) -> String {
        let log = self.log();
        let lines = log.lines().collect::<Vec<_>>();
        exec::indented(&lines[lines.len().saturating_sub(30)..].join("\n"))
    }

    pub(super) fn signal(&self, signal: Signal) -> Result<()> {
        let child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        let pid = i32::try_from(child.id()).context("read a process id")?;
        signal::kill(Pid::from_raw(pid), signal).context("send a signal")
    }

    pub(crate) fn kill(&self) {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        // Both fail only when it has ended.
        let _ended = child.kill();
        let _reaped = child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
