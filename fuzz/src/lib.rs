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

/// One parser under test.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, also that of its program under `src/bin`.
    pub name: &'static str,
    /// Parses, and checks what must hold of the outcome; says whether the input was taken. Panics on a fault.
    pub run: fn(&[u8]) -> bool,
    /// Inputs that are taken, to start from.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All of them.
pub const TARGETS: [Target; 18] = [
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
    manifests::MANIFESTS,
    certificates::SVID,
];

/// Makes the program of a target: for libFuzzer under `cargo fuzz`; else one that runs it on the files of its arguments, such
/// as those that libFuzzer left.
#[macro_export]
macro_rules! program {
    ($name:literal) => {
        #[cfg(fuzzing)]
        libfuzzer_sys::fuzz_target!(|input: &[u8]| {
            ($crate::target($name).run)(input);
        });

        #[cfg(not(fuzzing))]
        fn main() -> std::io::Result<()> {
            for file in std::env::args_os().skip(1) {
                ($crate::target($name).run)(&std::fs::read(file)?);
            }
            Ok(())
        }
    };
}

/// The target of this name.
///
/// # Panics
/// There is none.
pub fn target(name: &str) -> Target {
    let found = TARGETS.into_iter().find(|target| target.name == name);
    found.expect("a program must have the name of a target")
}

/// Text is what most of them take; what is not UTF-8 is made so, as the readers of output do.
fn text(input: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(input)
}
