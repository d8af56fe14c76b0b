//! Every parser that takes text or bytes from outside, as a plain function.
//!
//! `tests/bounded.rs` runs them on their seeds and on a bounded number of mutations, with `cargo test`. `cargo fuzz` runs
//! them for as long as one likes; see CONTRIBUTING.

mod certificates;
mod configuration;
mod host;
mod manifests;
mod proxy;
mod registration;
mod rules;
mod session;

/// One parser under test.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name.
    pub name: &'static str,
    /// Parses, and checks what must hold of the outcome; says whether the input was taken. Panics on a fault.
    pub run: fn(&[u8]) -> bool,
    /// Inputs that are taken, to start from.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All of them.
pub const TARGETS: [Target; 19] = [
    configuration::CONFIGURATION,
    configuration::EDIT,
    configuration::NAMES,
    rules::SAVED_RULES,
    rules::LISTED_TABLE,
    host::SOCKETS,
    host::SSH_PORTS,
    host::RUN_FILE,
    host::SPIRE_AGENT,
    host::SSH_CONNECTION,
    host::NETLINK,
    proxy::METRICS,
    proxy::LOG,
    registration::ASSIGNMENT,
    registration::KEPT_ASSIGNMENT,
    registration::HELLO,
    session::SESSION,
    manifests::MANIFESTS,
    certificates::SVID,
];

/// The target of this name.
pub fn target(name: &str) -> Option<Target> {
    TARGETS.into_iter().find(|target| target.name == name)
}

/// Text is what most of them take; what is not UTF-8 is made so, as the readers of output do.
fn text(input: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(input)
}
