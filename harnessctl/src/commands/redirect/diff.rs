//! `harnessctl redirect diff`: what the host has against what is wanted.

use linkerd_harness_core::redirect::page::Page;
use nix::unistd::geteuid;
use serde_json::json;
use similar::TextDiff;

use super::{daemon, live, offline, remark};
use crate::admin;
use crate::commands::printable;
use crate::failure::{FAILED, Failure, Outcome, UNAVAILABLE};
use crate::flags::Options;
use crate::output::{self, Form};

/// Both sides, in one form.
#[derive(Debug)]
struct Sides {
    live: String,
    wanted: String,
    /// Who looked at the host: the daemon or we.
    by_daemon: bool,
    /// How old that look is.
    age_seconds: u64,
}

pub(super) fn run(options: &Options) -> Outcome {
    let sides = match daemon(admin::address(&options.config))? {
        Some(page) => seen_by_daemon(page)?,
        None => Some(looked_at(options)?),
    };
    let Some(sides) = sides else {
        // The daemon takes out what it does not want, and says so where it cannot.
        return answer(
            options,
            "",
            "no difference: nothing is to be redirected now (harnessctl status says why)",
            0,
        );
    };
    let difference = difference(&sides.live, &sides.wanted);
    if sides.by_daemon {
        let repairs = if difference.is_empty() {
            ""
        } else {
            ", and repairs what differs"
        };
        remark(
            options,
            format_args!("the daemon looked {} s ago{repairs}", sides.age_seconds),
        );
    }
    answer(options, &difference, "no difference", sides.age_seconds)
}

fn answer(options: &Options, difference: &str, none: &str, age_seconds: u64) -> Outcome {
    let differs = !difference.is_empty();
    match options.form {
        Form::Json => {
            let answer = json!({
                "differs": differs, "diff": difference, "age_seconds": age_seconds,
            });
            output::data(&format!("{answer:#}\n"))?;
        }
        Form::Text if differs => output::data(difference)?,
        Form::Text => output::data(&format!("{none}\n"))?,
    }
    if differs {
        Err(Failure::silent(FAILED))
    } else {
        Ok(())
    }
}

/// What the daemon's last look showed; `None` while it wants nothing.
fn seen_by_daemon(page: Page) -> Outcome<Option<Sides>> {
    if page.backend.is_none() {
        return Err(Failure::new(
            UNAVAILABLE,
            "no packet filter of this host works for the daemon",
        )
        .hint("harnessctl status says what is missing"));
    }
    Ok(page.live.map(|live| Sides {
        live: live.text,
        wanted: live.wanted,
        by_daemon: true,
        age_seconds: live.age_seconds,
    }))
}

/// What we see ourselves.
fn looked_at(options: &Options) -> Outcome<Sides> {
    if !geteuid().is_root() {
        let text =
            "linkerd-proxy-harness does not run, and only root may look at the rules of this host";
        return Err(Failure::new(UNAVAILABLE, text).hint(
            "sudo harnessctl redirect diff, or: sudo systemctl start linkerd-proxy-harness",
        ));
    }
    let offline = offline::plan(options)?;
    for what in &offline.unknown {
        remark(
            options,
            format_args!("not known without the daemon: {what}"),
        );
    }
    let found = live::look(&offline.plan, offline.config.redirect.mode)?;
    Ok(Sides {
        wanted: found.wanted,
        live: found.live,
        by_daemon: false,
        age_seconds: 0,
    })
}

/// Empty when they are equal.
fn difference(live: &str, wanted: &str) -> String {
    if live == wanted {
        return String::new();
    }
    let text = TextDiff::from_lines(live, wanted)
        .unified_diff()
        .header("live", "wanted")
        .to_string();
    // What is live was written by others.
    text.lines()
        .map(|line| printable(line) + "\n")
        .collect::<Vec<_>>()
        .concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_has_a_plus_and_what_is_too_much_a_minus() {
        let shown = difference("a\nx\u{1b}\nc\n", "a\nb\nc\n");
        assert_eq!(
            shown,
            "--- live\n+++ wanted\n@@ -1,3 +1,3 @@\n a\n-x \n+b\n c\n"
        );
        assert_eq!(difference("a\n", "a\n"), "");
    }
}
