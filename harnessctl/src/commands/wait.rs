//! `harnessctl wait`: until this machine is a member of the mesh, or the time is over.

use std::thread;
use std::time::{Duration, Instant};

use clap::ArgMatches;
use linkerd_harness_core::status::{State, Status};

use crate::admin;
use crate::commands::printable;
use crate::failure::{FAILED, Failure, Outcome};
use crate::flags::Options;
use crate::output;

/// Between two looks: short for people, nothing for the machine.
const INTERVAL: Duration = Duration::from_millis(250);

pub(crate) fn run(matches: &ArgMatches, options: &Options) -> Outcome {
    let timeout = matches
        .get_one::<Duration>("timeout")
        .copied()
        .unwrap_or_default();
    let begin = Instant::now();
    let mut said = String::new();
    loop {
        // Asked anew each time: the configuration may be written while we wait.
        let reason = match admin::status(admin::address(&options.config)) {
            Ok(answer) if answer.status.meshed => return Ok(()),
            Ok(answer) => reason(&answer.status),
            Err(error) => error.to_string(),
        };
        if options.verbose && reason != said {
            output::talk(format_args!("waiting: {reason}"));
            said.clone_from(&reason);
        }
        let left = timeout.saturating_sub(begin.elapsed());
        if left.is_zero() {
            let text = match timeout {
                Duration::ZERO => format!("not meshed: {reason}"),
                timeout => format!("not meshed after {timeout:?}: {reason}"),
            };
            return Err(Failure::new(FAILED, text).hint("harnessctl status shows all parts"));
        }
        thread::sleep(INTERVAL.min(left));
    }
}

/// What holds it up: the first part, in the order of the flow, that does not do its work.
fn reason(status: &Status) -> String {
    let behind = status
        .components()
        .into_iter()
        .find(|(_, part)| part.state != State::Ok);
    behind.map_or_else(
        || "the parts are fine, the whole is not yet".to_owned(),
        |(name, part)| printable(&format!("{name}: {}: {}", part.reason, part.message)),
    )
}
