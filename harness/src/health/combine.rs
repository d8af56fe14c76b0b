//! One answer out of what is known of each probe, of the proxy and of the rules. Pure.

use linkerd_harness_core::health::{Health, State};
use linkerd_harness_core::probe::Probe;
use linkerd_harness_core::status;

/// What is known of one probe.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) outcome: Outcome,
    /// What the last run got that was told.
    pub(super) got: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Outcome {
    /// No threshold was reached yet.
    #[default]
    Open,
    Passes,
    Fails,
    /// This host does not run what the group asks for.
    NotAllowed,
}

/// Whether the proxy serves the workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Served {
    No,
    /// It would, but nothing was ever redirected to it.
    NotRedirected,
    Yes,
}

/// The answer; `verdicts` is `None` while there is no assignment. Probes that were just changed have no verdict yet: that
/// does not take a healthy workload out, or each edit of a group would take out all of its workloads at once.
pub(super) fn combine(
    draining: bool,
    served: Served,
    verdicts: Option<&[Verdict]>,
    was_healthy: bool,
) -> Health {
    if draining {
        return Health::new(State::Draining, "Draining", "the harness is being stopped");
    }
    let Some(verdicts) = verdicts else {
        return Health::new(State::Starting, "Starting", "waiting for the assignment");
    };
    if let Some((index, verdict)) = with(verdicts, Outcome::NotAllowed).next() {
        let message = format!(
            "exec probes are off on this host; to let the group run programs here: harnessctl set-config \
             --health-allow-exec-probes=true, then systemctl restart linkerd-proxy-harness{}",
            if verdicts.len() == 1 {
                format!(" (it wants to {})", verdict.got)
            } else {
                format!(" (probe {} wants to {})", index + 1, verdict.got)
            }
        );
        return Health::new(State::Unhealthy, "ProbeNotAllowed", message);
    }
    if let Some(message) = failing(verdicts) {
        return Health::new(State::Unhealthy, "ProbeFailed", message);
    }
    match served {
        Served::No => {
            return Health::new(
                State::Starting,
                "ProxyNotServing",
                "the proxy does not serve yet",
            );
        }
        Served::NotRedirected => {
            return Health::new(State::Starting, "NotRedirected", "no rule was applied yet");
        }
        Served::Yes => {}
    }
    let open = with(verdicts, Outcome::Open).count();
    if open > 0 && !was_healthy {
        let message = match verdicts.len() {
            1 => "the probe has no verdict yet".to_owned(),
            all => format!("{open} of {all} probes have no verdict yet"),
        };
        return Health::new(State::Starting, "Starting", message);
    }
    if verdicts.is_empty() {
        return Health::new(
            State::Healthy,
            "ProxyReady",
            "the proxy serves; the group has no probe",
        );
    }
    Health::new(
        State::Healthy,
        "ProbeSucceeded",
        "every probe passes and the proxy serves",
    )
}

/// Which probe fails and what it got; of several the first.
fn failing(verdicts: &[Verdict]) -> Option<String> {
    let (index, first) = with(verdicts, Outcome::Fails).next()?;
    let (all, number, got) = (verdicts.len(), index + 1, &first.got);
    Some(match with(verdicts, Outcome::Fails).count() {
        _ if all == 1 => got.clone(),
        1 => format!("probe {number} of {all}: {got}"),
        failing => format!("{failing} of {all} probes fail; probe {number}: {got}"),
    })
}

fn with(verdicts: &[Verdict], outcome: Outcome) -> impl Iterator<Item = (usize, &Verdict)> {
    verdicts
        .iter()
        .enumerate()
        .filter(move |(_, verdict)| verdict.outcome == outcome)
}

/// One probe for `/status`.
pub(super) fn shown((probe, verdict): (&Probe, &Verdict)) -> status::Probe {
    let asked = probe.check.to_string();
    status::Probe {
        state: match verdict.outcome {
            Outcome::Open => status::State::Waiting,
            Outcome::Passes => status::State::Ok,
            Outcome::Fails | Outcome::NotAllowed => status::State::Failed,
        },
        message: match verdict.outcome {
            Outcome::Open => format!("{asked}: no verdict yet"),
            Outcome::Passes | Outcome::Fails => verdict.got.clone(),
            Outcome::NotAllowed => format!("{asked}: not allowed, Health.AllowExecProbes is false"),
        },
    }
}
