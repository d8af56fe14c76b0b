//! The command line. The flags of `set-config` follow from the key table.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use linkerd_harness_core::config::{self, Fallback, KEYS, Key, Problems};

use crate::output::Form;

/// The flags that every command takes.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) config: PathBuf,
    pub(crate) form: Form,
    pub(crate) quiet: bool,
    pub(crate) verbose: bool,
}

// === impl Options ===

impl Options {
    pub(crate) fn of(matches: &ArgMatches) -> Self {
        let json = matches
            .get_one::<String>("output")
            .is_some_and(|form| form == "json");
        Self {
            config: matches
                .get_one::<PathBuf>("config")
                .cloned()
                .unwrap_or_else(|| config::PATH.into()),
            form: if json { Form::Json } else { Form::Text },
            quiet: matches.get_flag("quiet"),
            verbose: matches.get_flag("verbose"),
        }
    }
}

/// The whole command line.
pub(crate) fn command() -> Command {
    let set_config = Command::new("set-config")
        .about("Set keys of the configuration")
        .long_about(
            "Set keys of the configuration, all of them or none. An empty value takes a key out, so that its default \
             holds. Lists are separated by commas. The daemon takes a change when it is restarted.",
        )
        .args(KEYS.iter().map(|key| key_flag(key)));
    let get_config = Command::new("get-config")
        .about("Show each key with the value that holds and where it comes from");
    let status = Command::new("status").about("Show what the daemon does, on one screen");
    let wait = Command::new("wait")
        .about("Wait until this machine is a member of the mesh")
        .arg(
            Arg::new("for")
                .long("for")
                .value_name("STATE")
                .value_parser(["meshed"])
                .default_value("meshed")
                .help("What to wait for"),
        )
        .arg(
            Arg::new("timeout")
                .long("timeout")
                .value_name("DURATION")
                .value_parser(duration)
                .default_value("60s")
                .help("How long; 0 looks once"),
        );
    let redirect = Command::new("redirect")
        .about("Look at the rules on this host")
        .subcommand_required(true)
        .subcommands([redirect_show(), redirect_diff()]);
    let completions = Command::new("completions")
        .about("Print a completion script for a shell")
        .arg(
            Arg::new("shell")
                .required(true)
                .value_parser(value_parser!(clap_complete::Shell)),
        );
    Command::new("harnessctl")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Operator's command for linkerd-proxy-harness")
        .after_help(EXIT_CODES)
        .subcommand_required(true)
        .infer_long_args(false)
        .args(global_flags())
        .subcommands([set_config, get_config, status, wait, redirect, completions])
}

fn redirect_show() -> Command {
    Command::new("show")
        .about("Show the rules as they are, or would be, applied, and what is never redirected and why")
        .long_about(
            "Show the rules as they are, or would be, applied, and what is never redirected and why. Needs no root, and \
             the daemon only for what it alone knows; what is missing without it is said on stderr. The text can be \
             loaded: by iptables-restore --noflush, or by nft -f. With IPv6 `true`, what follows the line `# IPv6` is \
             for ip6tables-restore.",
        )
        .arg(
            Arg::new("backend")
                .long("backend")
                .value_name("BACKEND")
                .value_parser(["auto", "nft", "legacy", "nftables"])
                .default_value("auto")
                .help("For which packet filter; auto is the one that is used"),
        )
}

fn redirect_diff() -> Command {
    Command::new("diff")
        .about("Compare the rules on this host with those that are wanted")
        .long_about(
            "Compare the rules on this host with those that are wanted. What has a plus is missing, what has a minus is \
             too much. With the daemon it is what its last look showed, and needs no root; without it, root looks. \
             Exit code 0: no difference; 1: they differ.",
        )
}

const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed, 64 wrong command line, 69 the daemon cannot be reached, \
                          71 the system refused, 78 wrong configuration.";

fn global_flags() -> impl Iterator<Item = Arg> {
    let flags = [
        Arg::new("config")
            .long("config")
            .value_name("PATH")
            .value_parser(value_parser!(PathBuf))
            .default_value(config::PATH)
            .help("The configuration"),
        Arg::new("output")
            .long("output")
            .value_name("FORM")
            .value_parser(["text", "json"])
            .default_value("text")
            .help("Form of the answer"),
        Arg::new("quiet")
            .short('q')
            .long("quiet")
            .action(ArgAction::SetTrue)
            .help("No remarks, only the answer and errors"),
        Arg::new("verbose")
            .short('v')
            .long("verbose")
            .action(ArgAction::SetTrue)
            .help("Say what is done"),
    ];
    flags
        .into_iter()
        .map(|flag| flag.global(true).help_heading("Global options"))
}

fn key_flag(key: &'static Key) -> Arg {
    let fallback = match key.fallback {
        Fallback::Required => "required".to_owned(),
        Fallback::Value("") => "default: none".to_owned(),
        Fallback::Value(text) => format!("default: {text}"),
        Fallback::ByFamily { ipv4, both } => format!("default: {ipv4}; with IPv6 {both}"),
        Fallback::Computed(how) => format!("default: {how}"),
    };
    Arg::new(key.flag)
        .long(key.flag)
        .value_name(key.placeholder())
        .allow_hyphen_values(true)
        .help_heading("Keys")
        .help(format!("{} [key {}; {fallback}]", key.help, key.path))
}

fn duration(text: &str) -> Result<Duration, String> {
    config::duration(text)
}

/// All that is wrong with the flags of `set-config`, where clap stops at the first that it does not know.
pub(crate) fn every_problem(error: &clap::Error, arguments: &[OsString]) -> Option<Problems> {
    if error.kind() != ErrorKind::UnknownArgument {
        return None;
    }
    let mut words = arguments.iter().filter_map(|argument| argument.to_str());
    words.find(|word| *word == "set-config")?;
    let own: Vec<_> = command()
        .get_arguments()
        .filter_map(Arg::get_long)
        .map(str::to_owned)
        .collect();
    let mut changes = Vec::new();
    while let Some(word) = words.next() {
        let Some(flag) = word.strip_prefix("--") else {
            continue;
        };
        let (name, value) = flag
            .split_once('=')
            .map_or((flag, None), |(name, value)| (name, Some(value)));
        if own.iter().any(|own| own == name) {
            continue;
        }
        let known = KEYS.iter().any(|key| key.flag == name);
        // A flag that takes a value and was given none with `=` takes the next word.
        let value = value.or_else(|| known.then(|| words.next()).flatten());
        changes.push((name, value.unwrap_or_default()));
    }
    config::edit("", &changes).err()
}

#[cfg(test)]
mod tests;
