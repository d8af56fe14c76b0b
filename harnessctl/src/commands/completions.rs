//! `harnessctl completions SHELL`.

use clap::ArgMatches;
use clap_complete::Shell;

use crate::failure::Outcome;
use crate::{flags, output};

pub(crate) fn run(matches: &ArgMatches) -> Outcome {
    let mut script = Vec::new();
    if let Some(shell) = matches.get_one::<Shell>("shell") {
        clap_complete::generate(*shell, &mut flags::command(), "harnessctl", &mut script);
    }
    output::data(&String::from_utf8_lossy(&script))
}
