//! The only place that prints: data to stdout, talk to stderr.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use linkerd_harness_core::config::Problems;
use linkerd_harness_core::redirect::proof;
use linkerd_harness_core::status::State;

use crate::failure::{FAILED, Failure, Outcome, USAGE};

/// Form of what goes to stdout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Text,
    Json,
}

/// Writes the answer to stdout, as it is.
pub(crate) fn data(text: &str) -> Outcome {
    let mut stdout = io::stdout().lock();
    let written = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
    match written {
        // Who reads only the first lines (`| head -1`) has got what they wanted.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => {
            other.map_err(|error| Failure::new(FAILED, format!("cannot write to stdout: {error}")))
        }
    }
}

/// Writes one remark to stderr.
pub(crate) fn talk(text: impl Display) {
    // There is nowhere to complain to when stderr is gone.
    drop(writeln!(io::stderr().lock(), "{text}"));
}

/// Prints why a command failed and answers its exit code.
pub(crate) fn failure(failure: &Failure) -> ExitCode {
    if !failure.text.is_empty() {
        talk(format_args!("error: {}", failure.text));
    }
    if let Some(hint) = &failure.hint {
        talk(format_args!("hint: {hint}"));
    }
    ExitCode::from(failure.code)
}

/// Prints help, the version, or what is wrong with the command line.
pub(crate) fn usage(error: &clap::Error, problems: Option<Problems>) -> ExitCode {
    if let Some(problems) = problems {
        return failure(&Failure::new(USAGE, problems));
    }
    drop(error.print());
    if error.use_stderr() {
        ExitCode::from(USAGE)
    } else {
        ExitCode::SUCCESS
    }
}

/// The word for a state, padded, coloured for a terminal.
pub(crate) fn state(state: State) -> String {
    match state {
        State::Waiting => coloured("waiting", 33),
        State::Ok => coloured("ok", 32),
        State::Degraded => coloured("degraded", 33),
        State::Failed => coloured("failed", 31),
    }
}

/// The word for what a proof has shown, in the same way.
pub(crate) fn outcome(outcome: proof::Outcome) -> String {
    match outcome {
        proof::Outcome::Proven => coloured("proven", 32),
        proof::Outcome::Untried => coloured("untried", 33),
        proof::Outcome::Failed => coloured("failed", 31),
    }
}

/// Unless the terminal has asked otherwise (<https://no-color.org>).
fn coloured(word: &str, colour: u8) -> String {
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
        || std::env::var_os("TERM").is_some_and(|term| term == "dumb")
        || !io::stdout().is_terminal();
    if plain {
        format!("{word:<8}")
    } else {
        format!("\u{1b}[{colour}m{word:<8}\u{1b}[0m")
    }
}
