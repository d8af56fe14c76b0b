//! `run`: the daemon.

use std::process::ExitCode;

use linkerd_harness::logging;
use linkerd_harness::paths::Paths;
use linkerd_harness_core::config::Config;
use tracing::error;

pub(super) async fn run(config: Config, paths: Paths) -> ExitCode {
    logging::start(&config);
    match linkerd_harness::run(config, paths).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
