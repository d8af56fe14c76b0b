//! The rules of a host as the kernel's own programs print them, cut into ours and those of others. Made without our parser.

use std::fmt::Write as _;

use linkerd_harness_core::redirect::nftables::TABLE;
use proptest::test_runner::TestCaseError;

use crate::netns::Namespace;

/// What prints them. None of these makes a table by looking.
const PROGRAMS: [&str; 4] = [
    "iptables-nft-save",
    "ip6tables-nft-save",
    "iptables-legacy-save",
    "ip6tables-legacy-save",
];

/// The tables that iptables knows.
const TABLES: [&str; 4] = ["nat", "mangle", "raw", "filter"];

const OUR_CHAINS: [&str; 2] = ["PROXY_INIT_REDIRECT", "PROXY_INIT_OUTPUT"];

/// All rules of all backends, families and tables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rules {
    /// Our chains and jumps, each under the program that prints it, a jump with its place in its chain.
    pub(super) ours: String,
    /// All the rest, byte for byte, but without chains of the kernel that are as if they were not there, for whether they
    /// are, nobody can tell later: empty, and their policy is to accept.
    pub(super) foreign: String,
}

// === impl Rules ===

impl Rules {
    pub(super) fn of(host: &Namespace) -> Self {
        let mut script = String::new();
        for program in PROGRAMS {
            write!(script, "echo '== {program}'; {program} 2>/dev/null; ").unwrap();
        }
        script += "echo '== nft'; nft -s list ruleset";
        let text = host.run(&["sh", "-c", &script], "");
        let mut rules = Self::default();
        for part in text.split("== ").skip(1) {
            let (program, dump) = part.split_once('\n').unwrap();
            writeln!(rules.foreign, "== {program}").unwrap();
            if program == "nft" {
                rules.take_native(dump);
            } else {
                rules.take(program, dump);
            }
        }
        rules
    }

    /// Whatever leads into our chains.
    pub(super) fn jumps(&self) -> Vec<&str> {
        self.ours.lines().filter(|line| is_placed(line)).collect()
    }

    pub(super) fn ours_without_jumps(&self) -> Vec<&str> {
        self.ours.lines().filter(|line| !is_placed(line)).collect()
    }

    fn take(&mut self, program: &str, dump: &str) {
        let (mut table, mut chain, mut place) = ("", "", 0);
        for line in dump.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            if let Some(name) = line.strip_prefix('*') {
                (table, chain, place) = (name, "", 0);
                continue;
            }
            match words.as_slice() {
                ["-A", of, ..] => {
                    place = if *of == chain { place + 1 } else { 1 };
                    chain = of;
                }
                [name, "ACCEPT", _] if name.starts_with(':') => continue,
                ["COMMIT" | "#" | "", ..] | [] => continue,
                _ => {}
            }
            let name = words[0].strip_prefix(':').unwrap_or(chain);
            // A comment that names our chain is one word more, with the quote at its end.
            let led = words
                .windows(2)
                .any(|pair| matches!(pair[0], "-j" | "-g") && OUR_CHAINS.contains(&pair[1]));
            if table == "nat" && OUR_CHAINS.contains(&name) {
                writeln!(self.ours, "{program} {line}").unwrap();
            } else if table == "nat" && led {
                writeln!(self.ours, "{program} {place}: {line}").unwrap();
            } else {
                writeln!(self.foreign, "{table} {line}").unwrap();
            }
        }
    }

    /// Without the tables of iptables-nft, which its own program has printed: `nft` leaves parts of their rules out now and
    /// then, from one look to the next (measured with 1.0.6).
    fn take_native(&mut self, dump: &str) {
        for table in blocks(dump, "table ", "}") {
            let head = table.lines().next().unwrap_or_default();
            match head.split(' ').collect::<Vec<_>>()[..] {
                ["table", "ip" | "ip6", name, "{"] if TABLES.contains(&name) => {}
                ["table", family, name, "{"] if TABLE == format!("{family} {name}") => {
                    self.take_our_table(&table);
                }
                _ => self.foreign += &table,
            }
        }
    }

    /// Its parts sorted: the kernel lists them as they were made, which means nothing.
    fn take_our_table(&mut self, table: &str) {
        let (head, inner) = table.split_once('\n').unwrap();
        writeln!(self.ours, "nft {head}").unwrap();
        let mut parts: Vec<&str> = inner
            .split_inclusive("\t}\n")
            .map(str::trim_start)
            .collect();
        parts.sort_unstable();
        for part in parts {
            let outside = part.starts_with("chain ") && !part.starts_with("chain proxy_init_");
            for (place, line) in part.lines().enumerate() {
                let is_rule = line.starts_with("\t\t") && !line.starts_with("\t\ttype ");
                if outside && is_rule {
                    writeln!(self.ours, "nft {place}: {line}").unwrap();
                } else {
                    writeln!(self.ours, "nft {line}").unwrap();
                }
            }
        }
    }
}

/// `iptables-nft-save 1: -A …`.
fn is_placed(line: &str) -> bool {
    line.split(' ')
        .nth(1)
        .is_some_and(|word| word.ends_with(':'))
}

/// The parts of a text from a line that begins with `start` to one that is `end`.
fn blocks<'a>(text: &'a str, start: &'a str, end: &'a str) -> impl Iterator<Item = String> + 'a {
    let mut lines = text.lines();
    std::iter::from_fn(move || {
        let first = lines.by_ref().find(|line| line.starts_with(start))?;
        let mut block = first.to_owned() + "\n";
        for line in lines.by_ref() {
            block += &(line.to_owned() + "\n");
            if line == end {
                break;
            }
        }
        Some(block)
    })
}

/// Fails with the lines that only one of the two texts has; with both where they differ in order alone.
pub(super) fn same(found: &str, wanted: &str, what: &str) -> Result<(), TestCaseError> {
    if found == wanted {
        return Ok(());
    }
    let mut differ = String::new();
    for (sign, of, other) in [('-', wanted, found), ('+', found, wanted)] {
        for line in of.lines().filter(|line| !other.lines().any(|l| l == *line)) {
            write!(differ, "\n{sign} {line}").unwrap();
        }
    }
    if differ.is_empty() {
        differ = format!("\nfound:\n{found}\nwanted:\n{wanted}");
    }
    Err(TestCaseError::fail(format!("{what}: {differ}")))
}
