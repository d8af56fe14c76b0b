//! `harnessctl set-config`: all of the keys, or none.

use clap::ArgMatches;
use linkerd_harness_core::config::{self, Config, KEYS, Problem};
use serde_json::json;

use crate::failure::{Failure, Outcome, USAGE};
use crate::file::Replacement;
use crate::flags::Options;
use crate::output::{self, Form};

pub(crate) fn run(matches: &ArgMatches, options: &Options) -> Outcome {
    let changes: Vec<(&str, &str)> = KEYS
        .iter()
        .filter_map(|key| Some((key.flag, matches.get_one::<String>(key.flag)?.as_str())))
        .collect();
    if changes.is_empty() {
        return Err(Failure::new(USAGE, "no key to set")
            .hint("harnessctl set-config --help lists the flags"));
    }

    let file = Replacement::begin(&options.config)?;
    let bytes = file.current()?.unwrap_or_default();
    let text = config::edit(config::text(&bytes)?, &changes)?;
    file.finish(&text)?;

    match options.form {
        Form::Text => output::data("Config updated\n")?,
        Form::Json => output::data(&format!(
            "{}\n",
            json!({ "updated": true, "path": options.config })
        ))?,
    }
    if options.verbose {
        output::talk(format_args!("wrote {}", options.config.display()));
    }
    if !options.quiet {
        remind(&text);
    }
    Ok(())
}

/// Says which required keys are still to be set, because the daemon will not start without.
fn remind(text: &str) {
    let Err(problems) = Config::parse(text) else {
        return;
    };
    let missing = |problem: &Problem| {
        KEYS.iter()
            .find(|key| key.path == problem.key)
            .map(|key| key.usage())
    };
    let flags: Vec<_> = problems.iter().filter_map(missing).collect();
    output::talk(format_args!(
        "note: still to be set before the daemon can start: {}",
        flags.join(" ")
    ));
}
