//! What commands say: the answer to stdout, talk to stderr.

use std::error::Error;
use std::fmt::Display;
use std::io::Write as _;
use std::process::ExitCode;

/// One line, or several, to stderr.
pub(crate) fn say(text: impl Display, code: ExitCode) -> ExitCode {
    // There is nowhere to complain to when stderr is gone.
    drop(writeln!(std::io::stderr().lock(), "{text}"));
    code
}

/// A line to stdout.
pub(crate) fn answer(text: impl Display) {
    drop(writeln!(std::io::stdout().lock(), "{text}"));
}

/// An error with its causes, each said once, and what to type.
pub(crate) fn failure(error: &dyn Error, hint: Option<&str>, code: ExitCode) -> ExitCode {
    let mut text = format!("error: {error}");
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text.push_str("\n  caused by: ");
            text.push_str(&inner_text);
        }
        cause = inner.source();
    }
    if let Some(hint) = hint {
        text.push_str("\n\nhint: ");
        text.push_str(hint);
    }
    say(text, code)
}
