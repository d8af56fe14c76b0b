//! A table of nftables as data: what is wanted, or what `nft list table` printed.
//!
//! The parser takes any text: what it does not know it leaves out or remembers as odd, so that a new line of a new version
//! cannot stop a removal.

use std::fmt;

use super::TABLE;
use super::hook::Hook;
use super::rule::Rule;
use super::set::Set;

/// `Display` is its definition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::redirect) struct Table {
    pub(super) sets: Vec<Set>,
    pub(super) chains: Vec<Chain>,
    /// Flags of the table and objects that we never make.
    pub(super) odd: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Chain {
    pub(super) name: String,
    /// Only a base chain has one.
    pub(super) hook: Option<Hook>,
    pub(super) rules: Vec<Rule>,
}

/// Where the parser is.
enum Block {
    Set(Set, Vec<String>),
    Chain(Chain),
    Odd,
}

// === impl Table ===

impl Table {
    /// Of everything in the text, only our table.
    pub(in crate::redirect) fn parse(text: &str) -> Self {
        let mut table = Self::default();
        let mut inside = false;
        let mut block: Option<Block> = None;
        // Braces that an element list has open: its lines say nothing of the blocks.
        let mut list_open = false;
        for line in text.lines().map(str::trim) {
            if list_open {
                list_open = !line.contains('}');
                if let Some(Block::Set(_, elements)) = &mut block {
                    elements.push(line.to_owned());
                }
                continue;
            }
            match (&mut block, line) {
                (_, "") => {}
                (None, _) if !inside => {
                    let what = opens(line).and_then(|what| what.strip_prefix("table "));
                    inside = what == Some(TABLE);
                }
                (None, "}") => inside = false,
                (None, _) => {
                    match opens(line).map(|what| what.split_once(' ').unwrap_or((what, ""))) {
                        Some(("set", name)) if is_name(name) => {
                            let set = Set {
                                name: name.to_owned(),
                                ..Set::default()
                            };
                            block = Some(Block::Set(set, vec![]));
                        }
                        Some(("chain", name)) if is_name(name) => {
                            let chain = Chain {
                                name: name.to_owned(),
                                ..Chain::default()
                            };
                            block = Some(Block::Chain(chain));
                        }
                        Some((kind, name)) => {
                            table.odd.push(format!("{kind} {name}").trim().to_owned());
                            block = Some(Block::Odd);
                        }
                        None if line.starts_with("comment ") => {}
                        None => table.odd.push(line.to_owned()),
                    }
                }
                (Some(_), "}") => table.close(block.take()),
                (Some(Block::Set(set, elements)), _) => {
                    if let Some(kind) = line.strip_prefix("type ") {
                        kind.trim_end_matches(';').clone_into(&mut set.kind);
                    } else if let Some(list) = line.strip_prefix("elements = {") {
                        elements.push(list.to_owned());
                        list_open = !list.contains('}');
                    }
                }
                (Some(Block::Chain(chain)), _) => match Hook::parse(line) {
                    Some(hook) => chain.hook = Some(hook),
                    None if line.starts_with("comment ") => {}
                    None => chain.rules.push(Rule::parse(line)),
                },
                (Some(Block::Odd), _) => list_open = line.contains('{') && !line.contains('}'),
            }
        }
        // Cut off in the middle: what was read counts.
        table.close(block);
        table
    }

    fn close(&mut self, block: Option<Block>) {
        match block {
            Some(Block::Set(mut set, lists)) => {
                let list = lists.join(" ").replace('}', "");
                let elements = list.split(',').map(|element| element.trim().to_owned());
                set.elements = elements.filter(|element| !element.is_empty()).collect();
                self.sets.push(set);
            }
            Some(Block::Chain(chain)) => self.chains.push(chain),
            Some(Block::Odd) | None => {}
        }
    }

    pub(super) fn chain(&self, name: &str) -> Option<&Chain> {
        self.chains.iter().find(|chain| chain.name == name)
    }

    pub(super) fn set(&self, name: &str) -> Option<&Set> {
        self.sets.iter().find(|set| set.name == name)
    }

    /// What is in this table and not wanted there, in words.
    pub(super) fn unwanted<'a>(&'a self, wanted: &'a Self) -> impl Iterator<Item = String> + 'a {
        let chains = self.chains.iter().map(|chain| chain.name.as_str());
        let chains = chains.filter(|name| wanted.chain(name).is_none());
        let sets = self.sets.iter().map(|set| set.name.as_str());
        let sets = sets.filter(|name| wanted.set(name).is_none());
        let odd = self.odd.iter().map(|odd| odd.escape_debug().to_string());
        chains
            .map(|name| format!("chain {}", name.escape_debug()))
            .chain(sets.map(|name| format!("set {}", name.escape_debug())))
            .chain(odd)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "table {TABLE} {{")?;
        for (index, set) in self.sets.iter().enumerate() {
            write!(f, "{}{set}", if index == 0 { "" } else { "\n" })?;
        }
        for (index, chain) in self.chains.iter().enumerate() {
            let first = index == 0 && self.sets.is_empty();
            write!(f, "{}{chain}", if first { "" } else { "\n" })?;
        }
        f.write_str("}\n")
    }
}

// === impl Chain ===

impl Chain {
    /// Whether both have the same rules in the same order.
    pub(super) fn same_rules(&self, other: &Self) -> bool {
        self.rules.len() == other.rules.len()
            && self
                .rules
                .iter()
                .zip(&other.rules)
                .all(|(one, other)| one.same(other))
    }

    /// Whether both are hooked in the same way and have rules of the same purpose in the same order.
    pub(super) fn alike(&self, other: &Self) -> bool {
        let purposes = |chain: &Self| {
            let rules = chain.rules.iter();
            rules
                .map(|rule| rule.comment().map(str::to_owned))
                .collect::<Vec<_>>()
        };
        let hook = |chain: &Self| {
            let hook = chain.hook.clone();
            hook.map(|hook| (hook.kind, hook.name, hook.policy))
        };
        hook(self) == hook(other) && purposes(self) == purposes(other)
    }
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\tchain {} {{", self.name)?;
        if let Some(hook) = &self.hook {
            writeln!(f, "\t\t{hook}")?;
        }
        for rule in &self.rules {
            writeln!(f, "\t\t{}", rule.text)?;
        }
        f.write_str("\t}\n")
    }
}

/// Whether `nft` takes it as a name, whoever made it. Only such names get into our transactions.
fn is_name(text: &str) -> bool {
    let of_a_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/');
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && text.chars().all(of_a_name)
}

/// What a line that ends in `{` opens; a handle may follow as a comment.
fn opens(line: &str) -> Option<&str> {
    let line = line.split_once(" # ").map_or(line, |(line, _)| line);
    line.strip_suffix('{').map(str::trim)
}
