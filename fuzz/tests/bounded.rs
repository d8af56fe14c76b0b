//! Every target on its seeds and on a bounded number of their mutations. `PROPTEST_CASES` changes the number; a failure
//! prints the input with the fewest edits that was found, and keeps its seed in `proptest-regressions`.

use std::fmt;

use fuzz::{TARGETS, Target, target};
use proptest::prelude::*;
use proptest::test_runner::{Config, FileFailurePersistence, TestCaseError, TestRunner};

const CASES: u32 = 1000;

/// A seed with some edits.
struct Input(Vec<u8>);

/// One change of an input. Places are shares of its length, so that they fit any.
#[derive(Clone, Debug)]
enum Edit {
    Set(u16, u8),
    Insert(u16, Vec<u8>),
    Remove(u16, u16),
    /// Once more, somewhere else.
    Copy(u16, u16, u16),
    CutOff(u16),
}

macro_rules! bounded {
    ($($name:ident),* $(,)?) => {
        $(#[test] fn $name() { check(target(stringify!($name)).unwrap()); })*

        #[test]
        fn no_target_is_left_out() {
            assert_eq!([$(stringify!($name)),*], TARGETS.map(|target| target.name));
        }
    };
}

bounded!(
    configuration,
    edit,
    names,
    saved_rules,
    listed_table,
    sockets,
    ssh_ports,
    run_file,
    spire_agent,
    ssh_connection,
    netlink,
    proxy_metrics,
    proxy_log,
    assignment,
    kept_assignment,
    hello,
    session,
    manifests,
    svid,
);

fn check(target: Target) {
    let seeds = (target.seeds)();
    assert!(!seeds.is_empty());
    for seed in &seeds {
        assert!(
            (target.run)(seed),
            "a seed is not taken: {}",
            String::from_utf8_lossy(seed)
        );
    }
    (target.run)(&[]);
    let kept = format!(
        "{}/proptest-regressions/{}.txt",
        env!("CARGO_MANIFEST_DIR"),
        target.name
    );
    // The path outlives the test process anyway.
    let kept: &'static str = Box::leak(kept.into_boxed_str());
    let cases = std::env::var("PROPTEST_CASES").ok();
    let mut runner = TestRunner::new(Config {
        cases: cases.and_then(|cases| cases.parse().ok()).unwrap_or(CASES),
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(kept))),
        ..Config::default()
    });
    let words = words(&seeds);
    let seeds = prop::sample::select(seeds);
    let inputs = (seeds, prop::collection::vec(an_edit(words), 0..6)).prop_map(Input::of);
    let run = |Input(input): Input| -> Result<(), TestCaseError> {
        (target.run)(&input);
        Ok(())
    };
    if let Err(failure) = runner.run(&inputs, run) {
        panic!("{failure}");
    }
}

/// What inputs of this kind are made of: the runs of letters and digits of the seeds, and what parsers stumble on.
fn words(seeds: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut words: Vec<Vec<u8>> = seeds
        .iter()
        .flat_map(|seed| seed.split(|b| !b.is_ascii_alphanumeric()))
        .filter(|word| !word.is_empty() && word.len() < 40)
        .map(<[u8]>::to_vec)
        .collect();
    let odd = [
        "\n",
        " ",
        "\t",
        "\0",
        "\"",
        "\\",
        "'",
        ":",
        ",",
        "/",
        "-",
        "=",
        "[",
        "]",
        "{",
        "}",
        "*",
        "#",
        "..",
        "0",
        "-1",
        "1e999",
        "NaN",
        "65535",
        "65536",
        "4294967296",
        "99999999999999999999",
        "::",
        "::ffff:1.2.3.4",
        "/129",
        "null",
        "\u{fffd}",
        "\u{1f600}",
        "\u{202e}",
        "\u{feff}",
        "é",
    ];
    words.extend(odd.iter().map(|word| word.as_bytes().to_vec()));
    words.extend([vec![0xff], vec![0xc3], vec![0x80; 10]]);
    words
}

fn an_edit(words: Vec<Vec<u8>>) -> impl Strategy<Value = Edit> {
    let place = any::<u16>();
    prop_oneof![
        (place, any::<u8>()).prop_map(|(at, byte)| Edit::Set(at, byte)),
        (place, prop::sample::select(words)).prop_map(|(at, word)| Edit::Insert(at, word)),
        (place, 1u16..40).prop_map(|(at, length)| Edit::Remove(at, length)),
        (place, 1u16..200, any::<u16>())
            .prop_map(|(from, length, to)| Edit::Copy(from, length, to)),
        place.prop_map(Edit::CutOff),
    ]
}

// === impl Input ===

impl Input {
    fn of((mut seed, edits): (Vec<u8>, Vec<Edit>)) -> Self {
        for edit in &edits {
            edit.make(&mut seed);
        }
        Self(seed)
    }
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b\"{}\"", self.0.escape_ascii())
    }
}

// === impl Edit ===

impl Edit {
    fn make(&self, input: &mut Vec<u8>) {
        let place = |share: u16| usize::from(share) * input.len() / usize::from(u16::MAX);
        let end = |from: usize, length: u16| (from + usize::from(length)).min(input.len());
        match self {
            Self::Set(at, byte) => {
                let at = place(*at);
                if let Some(old) = input.get_mut(at) {
                    *old = *byte;
                }
            }
            Self::Insert(at, word) => {
                let at = place(*at);
                input.splice(at..at, word.iter().copied());
            }
            Self::Remove(at, length) => {
                let at = place(*at);
                input.drain(at..end(at, *length));
            }
            Self::Copy(from, length, to) => {
                let (from, to) = (place(*from), place(*to));
                let copy = input[from..end(from, *length)].to_vec();
                input.splice(to..to, copy);
            }
            Self::CutOff(at) => input.truncate(place(*at)),
        }
    }
}
