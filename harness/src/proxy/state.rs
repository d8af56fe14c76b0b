//! What the proxy does, and how that is told.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use linkerd_harness_core::status::State as Coarse;
use linkerd_harness_core::truth::Verdict;
use tokio::time::Instant;

use crate::report::Report;

/// What the proxy does.
#[derive(Clone, Debug, PartialEq)]
pub enum State {
    /// It does not run, and should not.
    Stopped,
    /// It runs and has not served yet.
    Starting {
        /// Its process.
        pid: u32,
        /// What is missing.
        verdict: Verdict,
        /// Its version, when it has said it.
        version: Option<String>,
    },
    /// It serves inbound traffic.
    Serving {
        /// Its process.
        pid: u32,
        /// Since when.
        since: SystemTime,
        /// Whether it reaches the policy controller. If not, new outbound connections
        /// through it hang.
        control_plane: bool,
        /// Whether the inbound policy refuses our look at the admin port, so that only the log is known.
        unseen: bool,
        /// Its version, when it has said it.
        version: Option<String>,
    },
    /// It runs and has served, but does not now.
    NotServing {
        /// Its process.
        pid: u32,
        /// What is missing.
        verdict: Verdict,
    },
    /// It was told to stop, and finishes what is open.
    Stopping {
        /// Its process.
        pid: u32,
    },
    /// It ended or could not be started, and is started again later.
    Backoff {
        /// Why.
        failure: Failure,
        /// How long it waits, in all.
        wait: Duration,
        /// When it is started again.
        until: Instant,
    },
}

/// Why the proxy ended or could not be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// There is no such file.
    ProgramMissing,
    /// The file is there but cannot be run.
    CannotExecute,
    /// It refused its environment (exit 64).
    ConfigurationRefused,
    /// It could not be set up (exit 1).
    InitializationFailed,
    /// Another process listens on one of its ports.
    PortTaken,
    /// A task of it panicked before it was certified, or the whole of it.
    Panicked,
    /// It claimed to be ready and was not, and would never have been.
    FalseReady,
    /// A signal that was not ours ended it.
    Killed,
    /// It ended with another code.
    Exited,
}

/// A reason with its facts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Which of the reasons.
    pub reason: Reason,
    program: PathBuf,
    /// Exit code or signal, and the proxy's last words; or why it could not be started.
    detail: String,
}

/// Releases whose SPIRE client cannot talk to any agent (linkerd2 issue 14730).
const NO_SPIRE: [&str; 2] = ["2.329.0", "2.330.0"];

// === impl State ===

impl State {
    /// Whether inbound traffic is served.
    pub fn serves(&self) -> bool {
        matches!(self, Self::Serving { .. })
    }

    /// Whether outbound traffic may be redirected too: without a policy controller it would hang.
    pub fn serves_outbound(&self) -> bool {
        matches!(
            self,
            Self::Serving {
                control_plane: true,
                ..
            }
        )
    }

    /// The process, while there is one.
    pub fn pid(&self) -> Option<u32> {
        match self {
            Self::Stopped | Self::Backoff { .. } => None,
            Self::Starting { pid, .. }
            | Self::Serving { pid, .. }
            | Self::NotServing { pid, .. }
            | Self::Stopping { pid } => Some(*pid),
        }
    }

    /// The proxy's version, when it is known.
    pub fn version(&self) -> Option<&str> {
        match self {
            Self::Starting { version, .. } | Self::Serving { version, .. } => version.as_deref(),
            Self::Stopped
            | Self::NotServing { .. }
            | Self::Stopping { .. }
            | Self::Backoff { .. } => None,
        }
    }

    /// In words, for `/status`, the log and systemd.
    pub fn report(&self) -> Report {
        match self {
            Self::Stopped => Report::new(Coarse::Waiting, "Stopped", "the proxy does not run"),
            Self::Starting {
                pid,
                verdict,
                version,
            } => starting(*pid, *verdict, version.as_deref()),
            Self::Serving {
                pid, unseen: true, ..
            } => Report::new(
                Coarse::Degraded,
                "AdminPortRefused",
                format!(
                    "the proxy (pid {pid}) serves inbound traffic as far as its log tells, but Linkerd's policy controller \
                     has not answered it: until then its default policy refuses our look at its admin port"
                ),
            ),
            Self::Serving {
                pid,
                control_plane: false,
                ..
            } => Report::new(
                Coarse::Degraded,
                "ControlPlaneUnreached",
                format!(
                    "the proxy (pid {pid}) serves inbound traffic but does not reach Linkerd's policy controller: \
                     check this host's resolver and its route to the cluster"
                ),
            ),
            Self::Serving { pid, .. } => Report::new(
                Coarse::Ok,
                "Serving",
                format!("the proxy (pid {pid}) serves"),
            ),
            Self::NotServing { pid, verdict } => {
                let (reason, what) = lack(*verdict);
                Report::new(
                    Coarse::Failed,
                    reason,
                    format!("the proxy (pid {pid}) has served, but {what}"),
                )
            }
            Self::Stopping { pid } => Report::new(
                Coarse::Waiting,
                "Stopping",
                format!("the proxy (pid {pid}) finishes open connections"),
            ),
            Self::Backoff { failure, .. } => {
                Report::new(Coarse::Failed, failure.reason.name(), failure.message())
            }
        }
    }
}

fn starting(pid: u32, verdict: Verdict, version: Option<&str>) -> Report {
    if let Some(version) = version.filter(|version| NO_SPIRE.contains(version)) {
        let message =
            format!("linkerd2-proxy {version} cannot talk to SPIRE: install 2.331.0 or later");
        return Report::new(Coarse::Failed, "UnsupportedVersion", message);
    }
    match verdict {
        Verdict::NotCertified => Report::new(
            Coarse::Waiting,
            "NotCertified",
            format!(
                "the proxy (pid {pid}) waits for its certificate from the SPIRE agent; if this lasts, its \
                 registration entry does not select the proxy's user: `harnessctl status` shows its identity"
            ),
        ),
        _ => Report::new(
            Coarse::Waiting,
            "Starting",
            format!("the proxy (pid {pid}) starts"),
        ),
    }
}

/// Reason and words for a proxy that has served.
fn lack(verdict: Verdict) -> (&'static str, &'static str) {
    match verdict {
        Verdict::CertificateExpired => (
            "CertificateExpired",
            "its certificate has expired and SPIRE gave no new one: check the SPIRE agent and this host's clock",
        ),
        Verdict::NotListening | Verdict::FalseReady => {
            ("NotListening", "its inbound port is closed")
        }
        Verdict::NotCertified => ("NotCertified", "it has no certificate"),
        Verdict::NotReady
        | Verdict::Serving
        | Verdict::ServingUnseen
        | Verdict::ControlPlaneUnreached => ("NotReady", "its admin port does not answer"),
    }
}

// === impl Reason ===

impl Reason {
    /// As it is shown: CamelCase.
    pub fn name(self) -> &'static str {
        match self {
            Self::ProgramMissing => "ProgramMissing",
            Self::CannotExecute => "CannotExecute",
            Self::ConfigurationRefused => "ConfigurationRefused",
            Self::InitializationFailed => "InitializationFailed",
            Self::PortTaken => "PortTaken",
            Self::Panicked => "Panicked",
            Self::FalseReady => "FalseReady",
            Self::Killed => "Killed",
            Self::Exited => "Exited",
        }
    }

    /// Whether the remedy is to put the right program there; then a new one should be started soon.
    pub(super) fn is_about_the_program(self) -> bool {
        matches!(self, Self::ProgramMissing | Self::CannotExecute)
    }
}

// === impl Failure ===

impl Failure {
    pub(super) fn new(reason: Reason, program: &Path, detail: impl Into<String>) -> Self {
        Self {
            reason,
            program: program.to_owned(),
            detail: detail.into(),
        }
    }

    /// For people: what happened, and what to do about it.
    pub fn message(&self) -> String {
        let (program, detail) = (self.program.display(), &self.detail);
        match self.reason {
            Reason::ProgramMissing => format!(
                "`{program}` does not exist: put linkerd2-proxy there (`install -m 0755 linkerd2-proxy {program}`), or name its \
                 place with `harnessctl set-config --proxy-path=PATH`"
            ),
            Reason::CannotExecute => format!("`{program}` cannot be run: {detail}"),
            Reason::ConfigurationRefused => format!(
                "the proxy refused its configuration ({detail}): the mesh assigned something that this version does \
                 not take; `journalctl -u linkerd-proxy-harness` has all that it said"
            ),
            Reason::InitializationFailed => format!("the proxy could not be set up ({detail})"),
            Reason::PortTaken => format!(
                "another process listens on one of the proxy's ports ({detail}): find it with \
                 `ss -ltnp '( sport = :4143 or sport = :4140 or sport = :4191 )'`"
            ),
            Reason::Panicked => format!("the proxy panicked ({detail}): it is started again"),
            Reason::FalseReady => {
                "the proxy claims to be ready but has no certificate or no open port: it is started again".to_owned()
            }
            Reason::Killed => format!(
                "the proxy was killed ({detail}): if this comes back, look for `Out of memory` in `journalctl -k`"
            ),
            Reason::Exited => format!("the proxy ended by itself ({detail}): it is started again"),
        }
    }
}
