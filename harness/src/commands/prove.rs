//! `prove`: connections of our own through the redirection.

use std::io::Write as _;
use std::process::ExitCode;

use linkerd_harness::paths::Paths;
use linkerd_harness::proof;
use linkerd_harness_core::config::Config;

use super::print;

pub(super) async fn run(config: Config, paths: Paths, requested: bool) -> ExitCode {
    // It waits for the kernel on threads of its own, since it changes their namespace.
    let told = tokio::task::spawn_blocking(move || proof::command(&config, &paths, requested));
    let told = match told.await {
        Ok(told) => told,
        Err(error) => return print::say(format_args!("cannot prove: {error}"), ExitCode::FAILURE),
    };
    let code = ExitCode::from(told.code);
    if let Some(problem) = &told.problem {
        print::say(problem, code);
    }
    // Whoever closed stdout does not want it.
    drop(std::io::stdout().write_all(told.table.as_bytes()));
    code
}
