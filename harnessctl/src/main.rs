//! The operator's command for linkerd-proxy-harness: sets the configuration, shows what the daemon does.

use std::process::ExitCode;

mod admin;
mod commands;
mod failure;
mod file;
mod flags;
mod output;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    let matches = match flags::command().try_get_matches_from(&arguments) {
        Ok(matches) => matches,
        Err(error) => return output::usage(&error, flags::every_problem(&error, &arguments)),
    };
    let options = flags::Options::of(&matches);
    match commands::run(&matches, &options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => output::failure(&failure),
    }
}
