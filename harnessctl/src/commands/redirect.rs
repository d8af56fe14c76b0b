//! `harnessctl redirect show|diff`: what is redirected, and whether the host has it.

use std::net::SocketAddr;

use clap::ArgMatches;
use linkerd_harness_core::redirect::page::Page;

use crate::admin;
use crate::failure::{Failure, Outcome, UNAVAILABLE};
use crate::flags::Options;
use crate::output;

mod diff;
mod live;
mod offline;
mod show;

pub(crate) fn run(matches: &ArgMatches, options: &Options) -> Outcome {
    match matches.subcommand() {
        Some(("show", matches)) => show::run(matches, options),
        Some(("diff", _)) => diff::run(options),
        // clap lets no other pass.
        Some(_) | None => Ok(()),
    }
}

/// What the daemon knows; `None` when it does not run.
fn daemon(address: SocketAddr) -> Outcome<Option<Page>> {
    match admin::redirect(address) {
        Ok(page) => Ok(Some(page)),
        Err(error) if error.is_nobody() => Ok(None),
        Err(error) => {
            let older = "if the daemon is older than this command: sudo systemctl restart linkerd-proxy-harness";
            Err(Failure::new(UNAVAILABLE, error).hint(older))
        }
    }
}

fn remark(options: &Options, text: impl std::fmt::Display) {
    if !options.quiet {
        output::talk(format_args!("note: {text}"));
    }
}
