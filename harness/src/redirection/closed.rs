//! `FailurePolicy: closed` beyond the daemon's life: root lays the rules before it starts, and keeps them when it ended badly.

use std::io;
use std::path::Path;

use linkerd_harness_core::config::{FailurePolicy, Mode};
use linkerd_harness_core::redirect::Plan;
use tracing::warn;

use super::host::Host;
use super::{Error, Firewall, run_file};

/// Says that the policy is `closed`, also when the configuration cannot be read any more.
const MARKER: &str = "failure-policy-closed";

/// What systemd tells `ExecStopPost=` of a service that was stopped (systemd.exec(5), `$SERVICE_RESULT`).
const STOPPED: &str = "success";

/// Leaves a word on the policy for [`keeps_rules`], in root's directory.
pub(super) fn mark(answers: &Path, policy: FailurePolicy) -> io::Result<()> {
    match policy {
        FailurePolicy::Closed => run_file::write(answers, MARKER, ""),
        FailurePolicy::Open => match std::fs::remove_file(answers.join(MARKER)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        },
    }
}

/// Whether a cleanup after a daemon that ended with this result leaves the rules where they are. By hand there is no
/// result, and everything goes.
pub fn keeps_rules(answers: &Path, service_result: Option<&str>) -> bool {
    service_result.is_some_and(|result| result != STOPPED)
        && run_file::read_trusted(answers, MARKER).is_some()
}

/// Redirects, as root, before there is a daemon: in one step over what an earlier one left.
///
/// # Errors
/// The rules could not be applied; those of an earlier daemon are still there.
pub async fn hold(plan: &Plan, mode: Mode, run_dir: &Path) -> Result<(), Error> {
    let (firewall, _) = Host::open(mode, run_dir).await?;
    // What connection tracking does not know yet would be cut in its middle. It gets no time to learn, but what is sent
    // meanwhile helps.
    if let Err(error) = firewall.prepare_connections(plan).await {
        warn!(error = %error.in_full(), "open connections may be cut");
    }
    firewall.apply(plan).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_bad_end_under_the_policy_keeps_the_rules() {
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path();
        let bad = [
            "exit-code",
            "signal",
            "core-dump",
            "watchdog",
            "timeout",
            "oom-kill",
        ];
        assert!(!keeps_rules(run, Some("signal")), "no policy known");
        mark(run, FailurePolicy::Closed).unwrap();
        mark(run, FailurePolicy::Closed).unwrap();
        for result in bad {
            assert!(keeps_rules(run, Some(result)), "{result}");
        }
        assert!(!keeps_rules(run, Some("success")), "a clean stop");
        assert!(!keeps_rules(run, None), "by hand");
        mark(run, FailurePolicy::Open).unwrap();
        mark(run, FailurePolicy::Open).unwrap();
        for result in bad {
            assert!(!keeps_rules(run, Some(result)), "{result}");
        }
    }
}
