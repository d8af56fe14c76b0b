//! What `iptables-save` prints, parsed as far as we need it.
//!
//! The parser takes any text: what it does not know it leaves out, so that a new line of a new version cannot stop a
//! removal.

use super::rule::Chain;

/// The tables of a dump.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Dump {
    tables: Vec<Table>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Table {
    name: String,
    chains: Vec<String>,
    rules: Vec<LiveRule>,
}

/// One `-A` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LiveRule {
    /// The chain that it is in.
    pub(super) chain: String,
    /// What follows the chain, as printed.
    pub(super) text: String,
    /// The same without quoting, word by word. Two rules with equal words are the same rule.
    pub(super) words: Vec<String>,
    /// What it has matched so far; zero where the dump was made without counters.
    pub(super) matched: Matched,
}

/// What a rule has matched since it was made. In table `nat`, a packet is one connection: later packets of it are not asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Matched {
    /// Packets.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// How many rules of other programs a dump holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RuleCount {
    /// In table `nat`, where ours go.
    pub nat: usize,
    /// In all tables.
    pub all: usize,
}

/// Counts the rules in a dump (`iptables-save`) that are not ours.
pub fn foreign_rules(dump: &str) -> RuleCount {
    let foreign = |rule: &&LiveRule| own_chain(&rule.chain).is_none() && rule.target().is_none();
    Dump::parse(dump)
        .tables
        .iter()
        .fold(RuleCount::default(), |mut count, table| {
            let rules = table.rules.iter().filter(foreign).count();
            count.all += rules;
            count.nat += if table.name == "nat" { rules } else { 0 };
            count
        })
}

// === impl Dump ===

impl Dump {
    pub(super) fn parse(text: &str) -> Self {
        let mut tables: Vec<Table> = Vec::new();
        for line in logical_lines(text) {
            if let Some(name) = line.strip_prefix('*') {
                tables.push(Table {
                    name: name.trim().to_owned(),
                    ..Table::default()
                });
                continue;
            }
            let Some(table) = tables.last_mut() else {
                continue;
            };
            if let Some(chain) = line.strip_prefix(':') {
                let name = chain.split_whitespace().next().unwrap_or_default();
                table.chains.push(name.to_owned());
            } else {
                table.rules.extend(LiveRule::parse(&line));
            }
        }
        Self { tables }
    }

    fn nat(&self) -> impl Iterator<Item = &Table> {
        self.tables.iter().filter(|table| table.name == "nat")
    }

    /// Whether the chain of ours exists.
    pub(super) fn has(&self, chain: Chain) -> bool {
        self.nat()
            .any(|table| table.chains.iter().any(|name| name == chain.name()))
    }

    /// The rules of a chain of table `nat`.
    pub(super) fn rules<'a>(&'a self, chain: &'a str) -> impl Iterator<Item = &'a LiveRule> {
        self.nat()
            .flat_map(|table| &table.rules)
            .filter(move |rule| rule.chain == chain)
    }

    /// The rules, wherever they are outside of our chains, that lead into a chain of ours.
    pub(super) fn jumps(&self) -> impl Iterator<Item = (&LiveRule, Chain)> {
        self.nat()
            .flat_map(|table| &table.rules)
            .filter(|rule| own_chain(&rule.chain).is_none())
            .filter_map(|rule| Some((rule, rule.target()?)))
    }
}

// === impl LiveRule ===

impl LiveRule {
    /// `-A CHAIN …`, or with counters in front: `[1:60] -A CHAIN …`.
    fn parse(line: &str) -> Option<Self> {
        let (matched, line) = match line.strip_prefix('[') {
            Some(counted) => counted.split_once("] ")?,
            None => ("", line),
        };
        let rest = line.strip_prefix("-A ")?;
        let (chain, text) = rest.split_once(' ').unwrap_or((rest, ""));
        Some(Self {
            chain: chain.to_owned(),
            text: text.trim().to_owned(),
            words: words(text),
            matched: Matched::parse(matched),
        })
    }

    /// What its comment says.
    pub(super) fn comment(&self) -> Option<&str> {
        let comment = self.words.windows(2).find(|pair| pair[0] == "--comment")?;
        comment.last().map(String::as_str)
    }

    /// The chain of ours that this rule jumps or goes to.
    fn target(&self) -> Option<Chain> {
        self.words.windows(2).find_map(|pair| match pair {
            [option, name] if option == "-j" || option == "-g" => own_chain(name),
            _ => None,
        })
    }
}

// === impl Matched ===

impl Matched {
    /// `1:60`; anything else is zero.
    fn parse(text: &str) -> Self {
        let (packets, bytes) = text.split_once(':').unwrap_or_default();
        Self {
            packets: packets.parse().unwrap_or_default(),
            bytes: bytes.parse().unwrap_or_default(),
        }
    }
}

/// The words of a rule: split at blanks, quotes and backslashes taken off as `iptables-restore` does.
pub(super) fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = false;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            '\\' if quoted => word.get_or_insert_default().extend(chars.next()),
            c if c.is_ascii_whitespace() && !quoted => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

fn own_chain(name: &str) -> Option<Chain> {
    Chain::ALL.into_iter().find(|chain| chain.name() == name)
}

/// Lines, where a line break inside quotes (a comment may hold one) does not end a line.
fn logical_lines(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut open = false;
    for line in text.lines() {
        match lines.last_mut() {
            Some(before) if open => {
                before.push('\n');
                before.push_str(line);
            }
            _ => lines.push(line.to_owned()),
        }
        // A line that is no rule has no quotes that mean anything: one in `# …` must not swallow what follows.
        open = lines.last().is_some_and(|line| {
            line.contains("-A ") && !line.starts_with('#') && has_open_quote(line)
        });
    }
    lines
}

fn has_open_quote(line: &str) -> bool {
    let mut quoted = false;
    let mut escaped = false;
    for c in line.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => {}
        }
    }
    quoted
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn quoting_does_not_hide_or_fake_a_jump() {
        let dump = "*nat\n:PROXY_INIT_OUTPUT - [0:0]\n\
            -A OUTPUT -m comment --comment \"-j PROXY_INIT_OUTPUT\" -j ACCEPT\n\
            -A OUTPUT -m comment --comment \"a \\\" b\nc\" -g PROXY_INIT_OUTPUT\n\
            [3:180] -A FOO -j PROXY_INIT_REDIRECT\nCOMMIT\n";
        let dump = Dump::parse(dump);
        let jumps: Vec<_> = dump
            .jumps()
            .map(|(rule, to)| (rule.chain.as_str(), to))
            .collect();
        assert_eq!(jumps, [("OUTPUT", Chain::Output), ("FOO", Chain::Redirect)]);
        let matched: Vec<_> = dump.jumps().map(|(rule, _)| rule.matched).collect();
        let of_the_last = Matched {
            packets: 3,
            bytes: 180,
        };
        assert_eq!(matched, [Matched::default(), of_the_last]);
    }

    #[test]
    fn only_rules_of_others_count() {
        let dump = "*filter\n-A INPUT -j ACCEPT\nCOMMIT\n*nat\n-A OUTPUT -j PROXY_INIT_OUTPUT\n\
            -A PROXY_INIT_OUTPUT -o lo -j RETURN\n-A POSTROUTING -j MASQUERADE\nCOMMIT\n";
        assert_eq!(foreign_rules(dump), RuleCount { nat: 1, all: 2 });
        assert_eq!(foreign_rules(""), RuleCount::default());
    }

    #[test]
    fn our_names_in_other_tables_are_not_ours() {
        let dump = Dump::parse(
            "*filter\n:PROXY_INIT_OUTPUT - [0:0]\n-A OUTPUT -j PROXY_INIT_OUTPUT\nCOMMIT\n",
        );
        assert!(!dump.has(Chain::Output));
        assert_eq!(dump.jumps().count(), 0);
    }

    proptest! {
        #[test]
        fn any_text_parses(text in "([*:A-Z\\-\\[\\]\"\\\\# \n]|PROXY_INIT_OUTPUT|nat){0,60}") {
            let dump = Dump::parse(&text);
            prop_assert!(dump.jumps().count() <= text.len());
        }
    }
}
