//! `redirect apply|remove|confirm`.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::Subcommand;
use linkerd_harness::redirection::by_hand::{self, Applied, Error, Id};
use linkerd_harness_core::config::{self, Config};
use linkerd_harness_core::redirect::backend::Backend;

use super::{CONFIG, print};

mod wait;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Redirects this host's traffic as the configuration says, once. Nobody repairs the rules when others change them.
    Apply {
        /// Takes everything back after so long, to nothing redirected, unless Enter is pressed here or `redirect confirm`
        /// is typed anywhere: best in a new SSH session, which proves that you still get in.
        #[arg(long, value_name = "DURATION", value_parser = duration, require_equals = true)]
        confirm: Option<Duration>,
    },
    /// Takes every rule of ours off this host.
    Remove,
    /// Keeps the rules that `apply --confirm` would take back.
    Confirm,
    /// What `apply --confirm` starts.
    #[command(hide = true)]
    TakeBack {
        #[arg(long)]
        id: Id,
        #[arg(long, value_parser = duration)]
        after: Duration,
    },
}

pub(super) async fn run(
    command: Command,
    config: impl FnOnce() -> Result<Config, String>,
    run_dir: &Path,
) -> ExitCode {
    let done = match command {
        Command::Apply { confirm } => match config() {
            Ok(config) => apply(&config, confirm, run_dir).await,
            Err(problem) => return print::say(format_args!("error: {problem}"), CONFIG.into()),
        },
        Command::Remove => remove(run_dir).await,
        Command::Confirm => confirm(run_dir),
        Command::TakeBack { id, after } => by_hand::take_back_unless_confirmed(&id, after, run_dir)
            .await
            .map(|outcome| print::say(format_args!("{outcome}"), ExitCode::SUCCESS)),
    };
    done.unwrap_or_else(|error| {
        let code = error.exit_code().into();
        print::failure(&error, error.hint().as_deref(), code)
    })
}

async fn apply(
    config: &Config,
    confirm: Option<Duration>,
    run_dir: &Path,
) -> Result<ExitCode, Error> {
    let applied = by_hand::apply(config, confirm, run_dir).await?;
    for remark in &applied.remarks {
        print::say(format_args!("warning: {remark}"), ExitCode::SUCCESS);
    }
    print::answer(summary(&applied));
    match (&applied.hold, confirm) {
        (Some(id), Some(after)) => Ok(wait::until_decided(id, after, run_dir).await),
        _ => Ok(ExitCode::SUCCESS),
    }
}

fn summary(applied: &Applied) -> String {
    let families: Vec<String> = applied
        .plan
        .families()
        .iter()
        .map(ToString::to_string)
        .collect();
    let tool = match applied.choice.backend {
        Backend::Nftables => "nftables".to_owned(),
        backend => format!("iptables-{backend}"),
    };
    format!(
        "redirected {} through {tool} ({}), with {} guard rails",
        families.join(" and "),
        applied.choice.because,
        applied.plan.guard_rails().len(),
    )
}

async fn remove(run_dir: &Path) -> Result<ExitCode, Error> {
    let removed = by_hand::remove(run_dir).await?;
    if removed.is_empty() {
        print::answer("nothing of ours was there");
    }
    for rules in removed {
        print::answer(format_args!("removed {rules}"));
    }
    Ok(ExitCode::SUCCESS)
}

fn confirm(run_dir: &Path) -> Result<ExitCode, Error> {
    by_hand::confirm(run_dir)?;
    print::answer(
        "confirmed: the rules stay until linkerd-proxy-harness redirect remove, the daemon's start or a reboot",
    );
    Ok(ExitCode::SUCCESS)
}

fn duration(text: &str) -> Result<Duration, String> {
    config::duration(text)
}
