//! `prove`: connections of our own through the redirection.

use std::io::Write as _;
use std::process::ExitCode;

use linkerd_harness::paths::Paths;
use linkerd_harness::proof;
use linkerd_harness_core::config::Config;

use super::print;

pub(super) fn run(config: &Config, paths: &Paths, requested: bool) -> ExitCode {
    let told = proof::command(config, paths, requested);
    let code = ExitCode::from(told.code);
    if let Some(problem) = &told.problem {
        print::say(problem, code);
    }
    // Whoever closed stdout does not want it.
    drop(std::io::stdout().write_all(told.table.as_bytes()));
    code
}
