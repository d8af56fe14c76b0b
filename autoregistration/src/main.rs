//! `autoregistration`: arguments, logging, signals, exit code.

use std::io::Write as _;
use std::process::ExitCode;

use autoregistration::args::{Args, Command, CommandLine};
use autoregistration::cluster::Cluster;
use autoregistration::process::Error;
use autoregistration::standalone::Standalone;
use autoregistration::{crd, logging, report};
use clap::Parser as _;
use tokio::signal::unix::{SignalKind, signal};
use tracing::info;

/// Codes of sysexits.h.
const USAGE: u8 = 64;
const OS_REFUSED: u8 = 71;
const CONFIGURATION: u8 = 78;

fn main() -> ExitCode {
    let line = match CommandLine::try_parse() {
        Ok(line) => line,
        Err(error) => return refuse(&error),
    };
    if let Some(Command::Crds) = line.command {
        return print_definitions();
    }
    let args = line.args;
    let filter = std::env::var(logging::VARIABLE).ok();
    let journal = std::env::var_os("JOURNAL_STREAM").is_some();
    if let Err(error) = logging::start(args.log_format, filter, journal) {
        return fail(&error, USAGE);
    }
    match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime.block_on(serve(args)),
        Err(error) => fail(&error, OS_REFUSED),
    }
}

fn refuse(error: &clap::Error) -> ExitCode {
    // Help and version come this way as well. Nothing can be done when they cannot be printed.
    drop(error.print());
    ExitCode::from(if error.use_stderr() { USAGE } else { 0 })
}

fn print_definitions() -> ExitCode {
    let text = match crd::yaml() {
        Ok(text) => text,
        Err(error) => return fail(&error, 1),
    };
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error, OS_REFUSED),
    }
}

async fn serve(args: Args) -> ExitCode {
    info!(
        version = env!("CARGO_PKG_VERSION"),
        "autoregistration started"
    );
    let (mut terminate, mut interrupt) = match (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) {
        (Ok(terminate), Ok(interrupt)) => (terminate, interrupt),
        (Err(error), _) | (_, Err(error)) => return fail(&error, OS_REFUSED),
    };
    let started = tokio::select! {
        started = Running::start(args) => started,
        // Perhaps it waits for the API server.
        _ = terminate.recv() => return ExitCode::SUCCESS,
        _ = interrupt.recv() => return ExitCode::SUCCESS,
    };
    let mut running = match started {
        Ok(running) => running,
        Err(error) => {
            let code = if error.is_configuration() {
                CONFIGURATION
            } else {
                OS_REFUSED
            };
            return fail(&error, code);
        }
    };
    let signal = tokio::select! {
        error = running.failed() => return fail(&error, 1),
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    };
    info!(signal, "shutting down");
    running.stop().await;
    info!("shutdown complete");
    ExitCode::SUCCESS
}

/// One of the two ways of running.
enum Running {
    Standalone(Box<Standalone>),
    Cluster(Box<Cluster>),
}

impl Running {
    async fn start(mut args: Args) -> Result<Self, Error> {
        Ok(match args.standalone.take() {
            Some(directory) => {
                Self::Standalone(Box::new(Standalone::start(directory, args).await?))
            }
            None => Self::Cluster(Box::new(Cluster::start(args).await?)),
        })
    }

    async fn failed(&mut self) -> Error {
        match self {
            Self::Standalone(standalone) => standalone.failed().await,
            Self::Cluster(cluster) => cluster.failed().await,
        }
    }

    async fn stop(self) {
        match self {
            Self::Standalone(standalone) => standalone.stop().await,
            Self::Cluster(cluster) => cluster.stop().await,
        }
    }
}

/// Says why on standard error, whatever the log's filter is.
fn fail(error: &(dyn std::error::Error + 'static), code: u8) -> ExitCode {
    // There is nobody left to tell when standard error is closed.
    drop(writeln!(
        std::io::stderr(),
        "error: {}",
        report::chain(error)
    ));
    ExitCode::from(code)
}
