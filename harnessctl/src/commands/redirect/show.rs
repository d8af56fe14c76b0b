//! `harnessctl redirect show`: the rules as text, and what is exempt and why.

use clap::ArgMatches;
use linkerd_harness_core::config::Mode;
use linkerd_harness_core::redirect::page::Page;
use serde_json::json;

use super::{daemon, offline, remark};
use crate::admin;
use crate::commands::printable;
use crate::failure::{Failure, Outcome, UNAVAILABLE};
use crate::flags::Options;
use crate::output::{self, Form};

pub(super) fn run(matches: &ArgMatches, options: &Options) -> Outcome {
    let wanted = matches.get_one::<String>("backend");
    let wanted = wanted.filter(|name| *name != "auto").map(String::as_str);
    let known = daemon(admin::address(&options.config))?;
    let (page, backend, unknown) = if let Some(page) = known {
        let chosen = page.backend.as_ref().map(|chosen| chosen.name.clone());
        if let Some(chosen) = page.backend.as_ref().filter(|_| wanted.is_none()) {
            let (name, because) = (printable(&chosen.name), printable(&chosen.because));
            remark(options, format_args!("backend {name}, for {because}"));
        }
        (page, chosen, vec![])
    } else {
        let offline = offline::plan(options)?;
        let configured = configured(offline.config.redirect.mode).map(str::to_owned);
        let mut unknown = offline.unknown;
        if configured.is_none() && wanted.is_none() {
            unknown.push("the backend, so the text is that of iptables, nft or legacy".to_owned());
        }
        (Page::of(&offline.plan, None), configured, unknown)
    };
    for what in &unknown {
        remark(
            options,
            format_args!("not known without the daemon: {what}"),
        );
    }
    let backend = wanted.or(backend.as_deref()).unwrap_or("nft");
    let rules = page.text.get(backend).ok_or_else(|| {
        Failure::new(
            UNAVAILABLE,
            format!("the daemon knows no backend {backend}"),
        )
        .hint("it is older than this command: systemctl restart linkerd-proxy-harness")
    })?;
    match options.form {
        Form::Text => output::data(&(comments(&page) + rules)),
        Form::Json => {
            let answer = json!({
                "backend": backend,
                "text": rules,
                "guard_rails": page.guard_rails,
                "unknown": unknown,
            });
            output::data(&format!("{answer:#}\n"))
        }
    }
}

fn configured(mode: Mode) -> Option<&'static str> {
    match mode {
        Mode::Auto => None,
        Mode::Nft => Some("nft"),
        Mode::Legacy => Some("legacy"),
        Mode::Nftables => Some("nftables"),
    }
}

/// The guard rails, as comments that both `iptables-restore` and `nft` skip.
fn comments(page: &Page) -> String {
    let line = |rail: &str| format!("#   {}\n", printable(rail));
    let rails = page.guard_rails.iter().map(|rail| line(&rail.reason));
    std::iter::once("# never redirected:\n".to_owned())
        .chain(rails)
        .collect::<Vec<_>>()
        .concat()
}
