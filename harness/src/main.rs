//! `linkerd-proxy-harness`: arguments, runtime, exit code.

use std::process::ExitCode;

use clap::Parser as _;

mod commands;

fn main() -> ExitCode {
    let arguments = match commands::Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let code = if error.use_stderr() {
                commands::USAGE
            } else {
                0
            };
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
        Err(error) => {
            return commands::print::say(format_args!("cannot start: {error}"), ExitCode::FAILURE);
        }
    };
    let code = runtime.block_on(commands::run(arguments));
    // A name that is being resolved would keep us for as long as the resolver waits.
    runtime.shutdown_background();
    code
}
