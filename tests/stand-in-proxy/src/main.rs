//! Takes linkerd2-proxy's place in the lab where the real one is not at hand.
//!
//! It reads the same environment, refuses what the real one refuses, speaks the same protocols with SPIRE, with the
//! control plane and with other proxies, and reproduces the traps that the harness has to live with. It is a test
//! tool: no part of the packages, and it says so on its first line.

mod admin;
mod backoff;
mod body;
mod cache;
mod config;
mod control;
mod detect;
mod drain;
mod header;
mod identity;
mod inbound;
mod io;
mod labels;
mod log;
mod metrics;
mod names;
mod open;
mod orig_proto;
mod outbound;
mod policy;
mod respond;
mod route;
mod run;
mod socket;
mod tls;

use crate::config::{Config, Env};
use std::io::Write as _;
use std::process::ExitCode;
use tracing::{error, info};

/// Wrong usage, as in `sysexits.h`: what the real proxy exits with when its environment is wrong.
const EX_USAGE: u8 = 64;

fn main() -> ExitCode {
    let env = Env::of_process();
    log::init(&env);
    info!(
        target: "linkerd2_proxy",
        "release stand-in (NOT linkerd2-proxy) {} by linkerd-proxy-harness, for its lab only",
        env!("CARGO_PKG_VERSION")
    );
    let config = match Config::from_env(&env) {
        Ok(config) => config,
        Err(invalid) => {
            for problem in &invalid.problems {
                error!(target: "linkerd_app::env", "{problem}");
            }
            say(&format!("Invalid configuration: {invalid}"));
            return ExitCode::from(EX_USAGE);
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            say(&format!(
                "Initialization failure: cannot start the runtime: {error}"
            ));
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(run::run(config));
    // A name lookup may still sit in getaddrinfo(3); the exit does not wait for it.
    runtime.shutdown_background();
    code
}

/// One line on stderr, where the real proxy puts what it says outside of its log.
fn say(line: &str) {
    if let Err(error) = writeln!(std::io::stderr(), "{line}") {
        error!(target: "linkerd2_proxy", "cannot write to stderr: {error}");
    }
}
