//! `prepare`: `ExecStartPre=` of the unit.

use std::process::ExitCode;

use linkerd_harness::paths::Paths;
use linkerd_harness::redirection;
use linkerd_harness_core::config::Config;

use super::print;

/// Always a success: the daemon itself says what it cannot do without, also of its configuration.
pub(super) async fn run(
    config: Option<&Config>,
    paths: &Paths,
    only_guard_rails: bool,
) -> ExitCode {
    let problems = match config {
        Some(config) if only_guard_rails => {
            let api = &config.identity.spire_socket;
            let problem = redirection::look(api, &paths.runtime).await;
            problem.into_iter().collect()
        }
        config => linkerd_harness::prepare(config, paths).await,
    };
    for problem in problems {
        print::say(&problem, ExitCode::SUCCESS);
    }
    ExitCode::SUCCESS
}
