//! Runs a command to its end and keeps what it answered, for people to read.

use std::fmt::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// What a command that has ended left behind.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The command, as a person would type it.
    pub command: String,
    /// Exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// What it printed as talk.
    pub stderr: String,
    /// How long it took.
    pub took: Duration,
}

impl Answer {
    /// Did it exit with 0?
    pub fn succeeded(&self) -> bool {
        self.code == Some(0)
    }

    /// The answer itself when it succeeded; otherwise an error with all that it printed.
    pub fn ok(self) -> Result<Self> {
        if self.succeeded() {
            return Ok(self);
        }
        bail!("{self}")
    }

    /// Both streams, standard output first.
    pub fn text(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}` ", self.command)?;
        match self.code {
            Some(code) => write!(f, "exited with {code}")?,
            None => f.write_str("was ended by a signal")?,
        }
        let text = self.text();
        if !text.trim().is_empty() {
            write!(f, ":\n{}", indented(&text))?;
        }
        Ok(())
    }
}

/// Runs `command` and waits for it; fails only when it could not be started.
pub fn run(command: &mut Command) -> Result<Answer> {
    let typed = typed(command);
    run_as(command, &typed)
}

/// Like [`run`], for a command that is shown differently from how it is started.
pub fn run_as(command: &mut Command, shown: &str) -> Result<Answer> {
    let started = Instant::now();
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("start `{shown}`"))?;
    Ok(Answer {
        command: shown.to_owned(),
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        took: started.elapsed(),
    })
}

/// Runs the command line `line` (words separated by single spaces) and insists on success.
pub fn line(line: &str) -> Result<Answer> {
    let mut words = line.split(' ');
    let program = words.next().unwrap_or_default();
    run(Command::new(program).args(words))?.ok()
}

/// The command line of `command`.
pub fn typed(command: &Command) -> String {
    let mut line = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        // Writing to a String cannot fail.
        let _infallible = write!(line, " {}", argument.to_string_lossy());
    }
    line
}

/// `text` with four blanks before each line.
pub fn indented(text: &str) -> String {
    text.trim_end()
        .lines()
        .map(|line| format!("    {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}
