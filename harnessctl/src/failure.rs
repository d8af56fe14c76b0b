//! Why a command did not do what it was asked, and the exit code that says so (`sysexits.h`).

use std::fmt::Display;

use linkerd_harness_core::config::Problems;

/// Something else went wrong.
pub(crate) const FAILED: u8 = 1;
/// The command line is wrong.
pub(crate) const USAGE: u8 = 64;
/// The daemon cannot be reached.
pub(crate) const UNAVAILABLE: u8 = 69;
/// The system refused.
pub(crate) const OS: u8 = 71;
/// The configuration is wrong.
pub(crate) const CONFIG: u8 = 78;

/// A command that failed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: u8,
    /// What was being done, on what, why it failed.
    pub(crate) text: String,
    /// What to type.
    pub(crate) hint: Option<String>,
}

/// What a command comes to.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

// === impl Failure ===

impl Failure {
    pub(crate) fn new(code: u8, text: impl Display) -> Self {
        Self {
            code,
            text: text.to_string(),
            hint: None,
        }
    }

    /// The answer has said it all: only the exit code is left.
    pub(crate) fn silent(code: u8) -> Self {
        Self::new(code, "")
    }

    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }
}

impl From<Problems> for Failure {
    fn from(problems: Problems) -> Self {
        Self::new(CONFIG, problems)
    }
}
