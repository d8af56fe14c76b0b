//! The command line, one file a verb, and the exit codes.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use linkerd_harness::paths::Paths;
use linkerd_harness_core::config::{self, Config};

mod cleanup;
mod prepare;
pub(crate) mod print;
mod prove;
mod redirect;
mod run;

/// `EX_USAGE` and `EX_CONFIG` of sysexits(3).
pub(crate) const USAGE: u8 = 64;
const CONFIG: u8 = 78;

/// Makes this machine a member of a Linkerd mesh.
#[derive(Debug, Parser)]
#[command(name = "linkerd-proxy-harness", version)]
pub(crate) struct Arguments {
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
    /// As root: sends connections of its own through the redirection, and says whether they reached the proxy.
    Prove {
        /// As the daemon asked, with the answer left for it.
        #[arg(long, hide = true)]
        requested: bool,
    },
    /// Removes every rule of ours from this host. Needs no configuration and no memory.
    ///
    /// As `ExecStopPost=` of the unit it leaves them after a bad end when the policy is `closed`.
    Cleanup,
    /// Redirection without the daemon: for images, boot scripts and a careful first contact. Refuses while it runs.
    Redirect {
        #[command(subcommand)]
        command: redirect::Command,
    },
}

pub(crate) async fn run(arguments: Arguments) -> ExitCode {
    let paths = Paths::from_environment();
    let config = || load(&arguments.config);
    match arguments.command {
        Command::Run => match config() {
            Ok(config) => run::run(config, paths).await,
            Err(problem) => print::say(&problem, ExitCode::from(CONFIG)),
        },
        Command::Prepare { only_guard_rails } => {
            prepare::run(config().ok().as_ref(), &paths, only_guard_rails).await
        }
        Command::Prove { requested } => match config() {
            Ok(config) => prove::run(config, paths, requested).await,
            Err(problem) => print::say(&problem, ExitCode::from(CONFIG)),
        },
        Command::Cleanup => cleanup::run(&paths).await,
        Command::Redirect { command } => redirect::run(command, config, &paths.runtime).await,
    }
}

fn load(path: &Path) -> Result<Config, String> {
    let remedy = "write one: harnessctl set-config --workload-group-name=… --workload-group-namespace=… \
                  --control-plane-address=… --control-plane-identity=…";
    let bytes = std::fs::read(path)
        .map_err(|error| format!("cannot read `{}`: {error}\n{remedy}", path.display()))?;
    Config::from_bytes(&bytes)
        .map_err(|problems| format!("`{}` cannot be used:\n{problems}", path.display()))
}
