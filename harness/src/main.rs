//! `linkerd-proxy-harness`: arguments, configuration, log, exit code.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use linkerd_harness::paths::Paths;
use linkerd_harness::{logging, redirection};
use linkerd_harness_core::config::{self, Config};
use tracing::error;

/// `EX_USAGE` and `EX_CONFIG` of sysexits(3).
const USAGE: u8 = 64;
const CONFIG: u8 = 78;

/// Makes this machine a member of a Linkerd mesh.
#[derive(Debug, Parser)]
#[command(name = "linkerd-proxy-harness", version)]
struct Arguments {
    /// Configuration file; written by `harnessctl set-config`.
    #[arg(long, global = true, default_value = config::PATH)]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The daemon. Started by systemd: `systemctl start linkerd-proxy-harness`.
    Run,
    /// As root, before the daemon: kernel modules, the xtables lock, guard rails, stale rules.
    Prepare {
        /// Only looks for the guard rails again: SSH servers and sessions, the SPIRE agent's server.
        #[arg(long)]
        only_guard_rails: bool,
    },
    /// Removes every rule of ours from this host. Needs no configuration and no memory.
    ///
    /// As `ExecStopPost=` of the unit it leaves them after a bad end when the policy is `closed`.
    Cleanup,
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let code = if error.use_stderr() { USAGE } else { 0 };
            return if error.print().is_ok() {
                ExitCode::from(code)
            } else {
                ExitCode::FAILURE
            };
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return complain(&format!("cannot start: {error}"), ExitCode::FAILURE),
    };
    let paths = Paths::from_environment();
    let code = match arguments.command {
        Command::Run => match load(&arguments.config) {
            Ok(config) => {
                logging::start(&config);
                runtime.block_on(run(config, paths))
            }
            Err(problem) => complain(&problem, ExitCode::from(CONFIG)),
        },
        Command::Prepare { only_guard_rails } => {
            let config = load(&arguments.config).ok();
            runtime.block_on(prepare(config.as_ref(), &paths, only_guard_rails))
        }
        Command::Cleanup => {
            let result = std::env::var("SERVICE_RESULT").ok();
            runtime.block_on(cleanup(&paths, result.as_deref()))
        }
    };
    // A name that is being resolved would keep us for as long as the resolver waits.
    runtime.shutdown_background();
    code
}

async fn run(config: Config, paths: Paths) -> ExitCode {
    match linkerd_harness::run(config, paths).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Always a success: the daemon itself says what it cannot do without, also of its configuration.
async fn prepare(config: Option<&Config>, paths: &Paths, only_guard_rails: bool) -> ExitCode {
    let problems = match config {
        Some(config) if only_guard_rails => {
            let api = &config.identity.spire_socket;
            redirection::look(api, &paths.runtime)
                .await
                .into_iter()
                .collect()
        }
        config => linkerd_harness::prepare(config, paths).await,
    };
    for problem in problems {
        complain(&problem, ExitCode::SUCCESS);
    }
    ExitCode::SUCCESS
}

async fn cleanup(paths: &Paths, service_result: Option<&str>) -> ExitCode {
    if redirection::keeps_rules(&paths.runtime, service_result) {
        let text = "the daemon did not stop cleanly and FailurePolicy is closed: the rules stay, and new connections are \
                    refused until the proxy serves again; open this host by hand: linkerd-proxy-harness cleanup";
        return complain(text, ExitCode::SUCCESS);
    }
    match redirection::cleanup(&paths.runtime).await {
        Ok(removed) => {
            for rules in removed {
                complain(&format!("removed {rules}"), ExitCode::SUCCESS);
            }
            ExitCode::SUCCESS
        }
        Err(errors) => complain(&errors.to_string(), ExitCode::FAILURE),
    }
}

fn load(path: &PathBuf) -> Result<Config, String> {
    let remedy = "write one: harnessctl set-config --workload-group-name=… --workload-group-namespace=… \
                  --control-plane-address=… --control-plane-identity=…";
    let bytes = std::fs::read(path)
        .map_err(|error| format!("cannot read `{}`: {error}\n{remedy}", path.display()))?;
    Config::from_bytes(&bytes)
        .map_err(|problems| format!("`{}` cannot be used:\n{problems}", path.display()))
}

#[expect(
    clippy::print_stderr,
    reason = "before the log exists, and for commands that have none"
)]
fn complain(text: &str, code: ExitCode) -> ExitCode {
    eprintln!("{text}");
    code
}
