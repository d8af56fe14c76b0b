//! Whether redirection does its work, shown by connections of our own, each way and of each family.
//!
//! The daemon cannot try by itself: its uid is the proxy's, which redirection skips, and what a host sends to itself is
//! never inbound. So [`keep`] asks a helper that is root's, whose unit is started by a file that the daemon writes and whose
//! work is [`prove()`].

mod command;
mod conntrack;
mod dial;
mod helper;
mod ip;
mod keep;
mod neighbour;
mod network;
mod prove;

use linkerd_harness_core::redirect::Plan;
use linkerd_harness_core::redirect::proof::{Outcome, Wish, trials};
use linkerd_harness_core::status::{Proof, Shown, State};

pub use command::{Told, command};
pub use helper::{Helper, Prover, fingerprint};
pub use keep::{Inputs, keep};
pub use prove::prove;

use crate::report::Report;

/// The results of trials that nobody made.
fn untried(plan: &Plan, wish: Wish, why: &str) -> Vec<Shown> {
    let trials = trials(plan, wish).into_iter();
    trials
        .map(|trial| Shown {
            direction: trial.direction,
            family: trial.family,
            outcome: Outcome::Untried,
            message: why.to_owned(),
        })
        .collect()
}

/// What redirection says of itself, with what was shown: rules that are in place and do not work are not in order.
/// What could not be tried changes nothing.
pub fn report(rules: &Report, proof: Option<&Proof>) -> Report {
    match proof {
        Some(proof) if rules.state == State::Ok && proof.outcome() == Outcome::Failed => {
            Report::new(
                State::Degraded,
                "NotProven",
                format!(
                    "rules are in place, but do not work: {proof} (try: harnessctl redirect diff; sudo linkerd-proxy-harness prove)"
                ),
            )
        }
        _ => rules.clone(),
    }
}
