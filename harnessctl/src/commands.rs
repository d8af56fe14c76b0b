//! The verbs, one file each.

use clap::ArgMatches;

use crate::failure::Outcome;
use crate::flags::Options;

mod completions;
mod get_config;
mod redirect;
mod set_config;
mod status;
mod wait;

pub(crate) use self::status::printable;

pub(crate) fn run(matches: &ArgMatches, options: &Options) -> Outcome {
    match matches.subcommand() {
        Some(("set-config", matches)) => set_config::run(matches, options),
        Some(("get-config", _)) => get_config::run(options),
        Some(("status", _)) => status::run(options),
        Some(("redirect", matches)) => redirect::run(matches, options),
        Some(("wait", matches)) => wait::run(matches, options),
        Some(("completions", matches)) => completions::run(matches),
        // clap lets no other pass.
        Some(_) | None => Ok(()),
    }
}
