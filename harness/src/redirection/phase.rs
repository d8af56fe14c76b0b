//! What redirection says of itself: to the code (a phase) and to people (a report).

use std::sync::Arc;
use std::time::SystemTime;

use linkerd_harness_core::redirect::contest::{Fight, Suspects};
use linkerd_harness_core::redirect::{Drift, Look, Plan};
use linkerd_harness_core::status::State;

use super::error::Error;
use crate::report::Report;

/// The state of the host's rules, as far as the daemon knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Redirection {
    /// Where it stands.
    pub phase: Phase,
    /// How often drift was found and repaired since the daemon started.
    pub repairs: u64,
    /// When that was for the last time.
    pub last_repair: Option<SystemTime>,
}

/// Where the host's rules stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// A change is on its way, or failed and will be tried again: anything may be there.
    #[default]
    Changing,
    /// What is wanted is there.
    Applied,
    /// Nothing is redirected any more. Connections that were redirected go on with the proxy.
    Removed,
}

/// What the last look at the host showed.
#[derive(Clone, Debug)]
pub struct View {
    /// What was wanted.
    pub plan: Arc<Plan>,
    /// What was there.
    pub look: Look,
    /// When.
    pub at: SystemTime,
}

/// The reports of redirection, a closed set.
pub mod report {
    use super::{Drift, Error, Fight, Report, State, Suspects};

    /// The reason of a report on a repair.
    pub(in crate::redirection) const REPAIRED: &str = "Repaired";

    /// Before anything is known.
    pub fn starting() -> Report {
        Report::new(State::Waiting, "Starting", "")
    }

    /// Nothing is to be redirected now, and nothing is.
    pub fn not_wanted() -> Report {
        Report::new(
            State::Waiting,
            "NotWanted",
            "no traffic is redirected; waiting for a proxy that can serve",
        )
    }

    /// The rules are in place.
    pub fn applied() -> Report {
        Report::new(State::Ok, "Applied", "rules are in place")
    }

    /// The rules had been changed by somebody else and were put right.
    pub fn repaired(drifts: &[Drift], by: &Suspects, repairs: u64) -> Report {
        let message = format!(
            "rules had drifted and were applied again ({}; by {by}); {repairs} repairs so far",
            in_words(drifts)
        );
        Report::new(State::Ok, REPAIRED, message)
    }

    /// Somebody undoes the rules again and again. `missing` is what is wrong until the next repair, `None` while nothing is.
    pub fn contested(fight: &Fight, missing: Option<&[Drift]>) -> Report {
        let now = missing.map_or_else(
            || "rules are in place now".to_owned(),
            |drifts| format!("until the next repair: {}", in_words(drifts)),
        );
        Report::new(State::Degraded, "Contested", format!("{fight}; {now}"))
    }

    /// Nothing works with which rules could be made; another attempt follows.
    pub fn no_backend(error: &Error) -> Report {
        Report::new(State::Failed, "NoBackend", error.in_full())
    }

    /// The rules could not be applied; another attempt follows.
    pub fn apply_failed(error: &Error) -> Report {
        Report::new(State::Failed, "ApplyFailed", error.in_full())
    }

    /// The rules were in place, but could not be compared with the wanted ones; another attempt follows.
    pub fn check_failed(error: &Error) -> Report {
        Report::new(State::Degraded, "CheckFailed", error.in_full())
    }

    /// The rules could not be removed; another attempt follows.
    pub fn remove_failed(error: &Error) -> Report {
        Report::new(State::Failed, "RemoveFailed", error.in_full())
    }

    pub(in crate::redirection) fn in_words(drifts: &[Drift]) -> String {
        let words: Vec<String> = drifts.iter().map(ToString::to_string).collect();
        if words.is_empty() {
            "all rules were gone".to_owned()
        } else {
            words.join(", ")
        }
    }
}
