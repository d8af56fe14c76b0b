//! The stand-in for Linkerd's controllers as a program.

use anyhow::Result;
use clap::Parser;
use stand_in_controllers::{Arguments, run};

#[derive(Parser)]
#[command(about = "A STAND-IN for Linkerd's destination and policy controllers, for tests only")]
struct CommandLine {
    #[command(flatten)]
    arguments: Arguments,
}

#[tokio::main]
async fn main() -> Result<()> {
    let CommandLine { arguments } = CommandLine::parse();
    tracing_subscriber::fmt().with_ansi(false).init();
    run(arguments).await
}
