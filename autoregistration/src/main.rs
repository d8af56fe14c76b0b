//! `autoregistration`: arguments, logging, signals, exit code.

use std::io::Write as _;
use std::process::ExitCode;

use autoregistration::args::{Args, Command, CommandLine};
use autoregistration::standalone::Standalone;
use autoregistration::{crd, logging, report};
use clap::{CommandFactory as _, Parser as _};
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
    let args = match line {
        CommandLine {
            command: Some(Command::Crds),
            ..
        } => return print_definitions(),
        CommandLine {
            args: Some(args), ..
        } => args,
        CommandLine { args: None, .. } => {
            let kind = clap::error::ErrorKind::MissingRequiredArgument;
            return refuse(&CommandLine::command().error(kind, "nothing is said of how to run"));
        }
    };
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
    let mut standalone = match Standalone::start(args).await {
        Ok(standalone) => standalone,
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
        error = standalone.failed() => return fail(&error, 1),
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    };
    info!(signal, "shutting down");
    standalone.stop().await;
    info!("shutdown complete");
    ExitCode::SUCCESS
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
