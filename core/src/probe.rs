//! A probe on the application and the threshold state machine that turns its results into one answer.
//!
//! Field meanings and defaults are Kubernetes' (and the `ExternalGroup`'s).

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A check on the application, run from the VM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// What is asked.
    pub check: Check,
    /// Wait before the first run.
    pub initial_delay: Duration,
    /// Between two runs, at least 1 s.
    pub period: Duration,
    /// Of one run, at least 1 s.
    pub timeout: Duration,
    /// Successes in a row that make it healthy, at least 1.
    pub success_threshold: u32,
    /// Failures in a row that make it unhealthy, at least 1.
    pub failure_threshold: u32,
}

/// What a probe asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Check {
    /// `GET`; a status from 200 to 399 is a success.
    HttpGet {
        /// `HTTP` or `HTTPS`; the certificate is not checked, as in Kubernetes.
        scheme: Scheme,
        /// Host to connect to, usually `127.0.0.1`.
        host: String,
        /// Port to connect to.
        port: u16,
        /// Path and query, begins with `/`.
        path: String,
        /// Header names and values; `Host` replaces the default.
        headers: Vec<(String, String)>,
    },
    /// A connection; that it comes about is a success.
    TcpSocket {
        /// Host to connect to, usually `127.0.0.1`.
        host: String,
        /// Port to connect to.
        port: u16,
    },
    /// `grpc.health.v1.Health/Check` in clear on `127.0.0.1`; `SERVING` is a success.
    Grpc {
        /// Port to connect to.
        port: u16,
        /// Service that is asked for; empty means the server as a whole.
        service: String,
    },
    /// A program of this host; that it ends with 0 in time is a success.
    Exec {
        /// Absolute path, and arguments; [`check_command`] takes it.
        command: Vec<String>,
    },
}

/// Most words of a command, the program included.
pub const COMMAND_WORDS: usize = 64;
/// Most characters of a command, all words together: a group's probes travel to each of its workloads.
pub const COMMAND_CHARS: usize = 4096;

/// Why words are no command of a probe.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// No word at all.
    #[error("is empty; write the path of a program and its arguments")]
    Empty,
    /// `PATH` is not searched.
    #[error("begins with `{}`; write the absolute path of the program", .0.escape_debug())]
    NotAbsolute(String),
    /// No program can be given one.
    #[error("has a NUL character")]
    Nul,
    /// More than [`COMMAND_WORDS`].
    #[error("has {0} words; at most {COMMAND_WORDS}")]
    TooManyWords(usize),
    /// More than [`COMMAND_CHARS`].
    #[error("has {0} characters; at most {COMMAND_CHARS}")]
    TooLong(usize),
}

/// Checks the command of an [`Check::Exec`].
///
/// # Errors
/// When it is empty, too long, no absolute path, or nothing that can be run.
pub fn check_command(command: &[String]) -> Result<(), CommandError> {
    let program = command.first().ok_or(CommandError::Empty)?;
    if !program.starts_with('/') {
        return Err(CommandError::NotAbsolute(program.clone()));
    }
    if command.len() > COMMAND_WORDS {
        return Err(CommandError::TooManyWords(command.len()));
    }
    let characters = command.iter().map(|word| word.chars().count()).sum();
    if characters > COMMAND_CHARS {
        return Err(CommandError::TooLong(characters));
    }
    if command.iter().any(|word| word.contains('\0')) {
        return Err(CommandError::Nul);
    }
    Ok(())
}

/// Scheme of an HTTP probe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Scheme {
    /// Plain HTTP/1.1.
    #[default]
    Http,
    /// HTTP/1.1 over TLS.
    Https,
}

/// Counts results in a row; a verdict changes only when a threshold is reached. Starts undecided.
#[derive(Clone, Debug)]
pub struct Threshold {
    success_threshold: u32,
    failure_threshold: u32,
    healthy: Option<bool>,
    streak: u32,
    last: Option<bool>,
}

// === impl Check ===

/// What is asked of whom, for messages. Of a command only the program: arguments may be long, and hold what is not for
/// everybody.
impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HttpGet {
                scheme,
                host,
                port,
                path,
                ..
            } => {
                let scheme = match scheme {
                    Scheme::Http => "http",
                    Scheme::Https => "https",
                };
                write!(f, "GET {scheme}://{host}:{port}{path}")
            }
            Self::TcpSocket { host, port } => write!(f, "connect to {host}:{port}"),
            Self::Grpc { port, service } if service.is_empty() => {
                write!(f, "gRPC health of 127.0.0.1:{port}")
            }
            Self::Grpc { port, service } => {
                write!(
                    f,
                    "gRPC health of `{}` at 127.0.0.1:{port}",
                    service.escape_debug()
                )
            }
            Self::Exec { command } => {
                let program = command.first().map_or("", String::as_str);
                write!(f, "run `{}`", program.escape_debug())
            }
        }
    }
}

// === impl Threshold ===

impl Threshold {
    /// The machine for one probe.
    pub fn new(probe: &Probe) -> Self {
        Self {
            success_threshold: probe.success_threshold.max(1),
            failure_threshold: probe.failure_threshold.max(1),
            healthy: None,
            streak: 0,
            last: None,
        }
    }

    /// Takes the result of one run; answers the new verdict when it changed.
    pub fn observe(&mut self, success: bool) -> Option<bool> {
        self.streak = if self.last == Some(success) {
            self.streak.saturating_add(1)
        } else {
            1
        };
        self.last = Some(success);
        let needed = if success {
            self.success_threshold
        } else {
            self.failure_threshold
        };
        if self.streak < needed || self.healthy == Some(success) {
            return None;
        }
        self.healthy = Some(success);
        self.healthy
    }

    /// The verdict so far; `None` until a threshold was reached.
    pub fn healthy(&self) -> Option<bool> {
        self.healthy
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn threshold(success: u32, failure: u32) -> Threshold {
        Threshold::new(&Probe {
            check: Check::HttpGet {
                scheme: Scheme::Http,
                host: "127.0.0.1".into(),
                port: 80,
                path: "/".into(),
                headers: Vec::new(),
            },
            initial_delay: Duration::ZERO,
            period: Duration::from_secs(10),
            timeout: Duration::from_secs(1),
            success_threshold: success,
            failure_threshold: failure,
        })
    }

    #[test]
    fn a_verdict_needs_the_threshold_in_a_row() {
        let mut probe = threshold(2, 3);
        assert_eq!(probe.observe(true), None);
        assert_eq!(probe.observe(false), None);
        assert_eq!(probe.observe(true), None);
        assert_eq!(probe.observe(true), Some(true));
        assert_eq!(probe.observe(true), None);
        assert_eq!(probe.observe(false), None);
        assert_eq!(probe.observe(false), None);
        assert_eq!(probe.healthy(), Some(true));
        assert_eq!(probe.observe(false), Some(false));
        assert_eq!(probe.healthy(), Some(false));
    }

    #[test]
    fn zero_thresholds_act_as_one() {
        let mut probe = threshold(0, 0);
        assert_eq!(probe.observe(false), Some(false));
        assert_eq!(probe.observe(true), Some(true));
    }

    #[test]
    fn a_command_is_an_absolute_path_and_words_that_can_be_given_to_it() {
        let check = |words: &[&str]| {
            let words = words.iter().map(|word| (*word).to_owned());
            check_command(&words.collect::<Vec<_>>())
        };
        assert_eq!(check(&["/bin/true", "", "a b", "$(x)"]), Ok(()));
        assert_eq!(check(&[]), Err(CommandError::Empty));
        for program in ["", "true", "./true", "~/true"] {
            assert_eq!(
                check(&[program]),
                Err(CommandError::NotAbsolute(program.to_owned()))
            );
        }
        assert_eq!(check(&["/bin/true", "a\0b"]), Err(CommandError::Nul));
        assert_eq!(check(&["/b"; 65]), Err(CommandError::TooManyWords(65)));
        let long = "\u{e9}".repeat(COMMAND_CHARS - 2);
        assert_eq!(check(&["/b", &long]), Ok(()));
        assert_eq!(
            check(&["/b", &long, "c"]),
            Err(CommandError::TooLong(COMMAND_CHARS + 1))
        );
    }

    #[test]
    fn a_message_names_what_was_asked_and_keeps_arguments_to_itself() {
        let exec = Check::Exec {
            command: vec!["/bin/check".into(), "--password=x".into()],
        };
        assert_eq!(exec.to_string(), "run `/bin/check`");
        let grpc = |service: &str| Check::Grpc {
            port: 50051,
            service: service.into(),
        };
        assert_eq!(grpc("").to_string(), "gRPC health of 127.0.0.1:50051");
        assert_eq!(
            grpc("a.B").to_string(),
            "gRPC health of `a.B` at 127.0.0.1:50051"
        );
    }
}
