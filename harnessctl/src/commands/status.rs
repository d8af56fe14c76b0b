//! `harnessctl status`: the daemon's state on one screen.

use linkerd_harness_core::status::Status;

use crate::admin;
use crate::failure::{Failure, Outcome, UNAVAILABLE};
use crate::file;
use crate::flags::Options;
use crate::output::{self, Form};

pub(crate) fn run(options: &Options) -> Outcome {
    let address = admin::address(&options.config);
    let answer = admin::status(address)
        .map_err(|error| Failure::new(UNAVAILABLE, error).hint(start(options)))?;
    match options.form {
        Form::Text => output::data(&screen(&answer.status)),
        Form::Json => output::data(&format!("{:#}\n", answer.json)),
    }
}

/// How the daemon is started, with what comes before.
fn start(options: &Options) -> &'static str {
    match file::read(&options.config) {
        Ok(None) => {
            "there is no configuration yet: sudo harnessctl set-config (--help lists the flags), then \
             sudo systemctl start linkerd-proxy-harness"
        }
        _ => {
            "sudo systemctl start linkerd-proxy-harness; why it ended: \
             journalctl -u linkerd-proxy-harness -n 20"
        }
    }
}

fn screen(status: &Status) -> String {
    let meshed = if status.meshed {
        "meshed"
    } else {
        "not meshed"
    };
    let mut text = format!(
        "linkerd-proxy-harness {}, group {}: {meshed}\n\n",
        printable(&status.version),
        printable(&status.group)
    );
    let parts = status.components();
    let width = parts
        .iter()
        .map(|(_, part)| part.reason.chars().count())
        .max();
    let width = width.unwrap_or_default();
    for (name, part) in parts {
        let (state, reason) = (output::state(part.state), printable(&part.reason));
        let (since, message) = (printable(&part.since), printable(&part.message));
        let line = format!("{name:<12}  {state}  {reason:<width$}  since {since}  {message}");
        text.push_str(line.trim_end());
        text.push('\n');
    }
    let all = status.probes.len();
    for (index, probe) in status.probes.iter().enumerate() {
        let gap = if index == 0 { "\n" } else { "" };
        let name = format!("probe {}/{all}", index + 1);
        let (state, message) = (output::state(probe.state), printable(&probe.message));
        let line = format!("{gap}{name:<12}  {state}  {message}");
        text.push_str(line.trim_end());
        text.push('\n');
    }
    if let Some(proof) = &status.proof {
        let (outcome, at) = (output::outcome(proof.outcome()), printable(&proof.at));
        let what = printable(&proof.to_string());
        let line = format!("\nproof         {outcome}  at {at}  {what}\n");
        text.push_str(&line);
    }
    text
}

/// Without control characters, which a message from afar could carry to the terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}
