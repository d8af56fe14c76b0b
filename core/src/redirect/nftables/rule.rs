//! One rule as `nft` prints it.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::redirect::dump::{Matched, words};

/// One rule. Its counter is kept beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    /// As printed, without the counter's values.
    pub(super) text: String,
    /// The same word by word, addresses in one form. Two rules with equal words are the same rule.
    words: Vec<String>,
    pub(super) matched: Matched,
}

// === impl Rule ===

impl Rule {
    pub(super) fn parse(line: &str) -> Self {
        let mut all = words(line);
        let mut text = line.to_owned();
        let mut matched = Matched::default();
        let counter = all
            .windows(5)
            .position(|run| run[0] == "counter" && run[1] == "packets" && run[3] == "bytes");
        if let Some(at) = counter {
            let values: Vec<String> = all.drain(at + 1..at + 5).collect();
            text = text.replacen(&format!("counter {}", values.join(" ")), "counter", 1);
            matched = Matched {
                packets: values[1].parse().unwrap_or_default(),
                bytes: values[3].parse().unwrap_or_default(),
            };
        }
        Self {
            text,
            words: all.into_iter().map(one_form).collect(),
            matched,
        }
    }

    pub(super) fn same(&self, other: &Self) -> bool {
        self.words == other.words
    }

    /// What its comment says.
    pub(super) fn comment(&self) -> Option<&str> {
        let comment = self.words.windows(2).find(|pair| pair[0] == "comment")?;
        comment.last().map(String::as_str)
    }

    pub(super) fn leads_to(&self, chain: &str) -> bool {
        let leads =
            |pair: &[String]| matches!(pair[0].as_str(), "jump" | "goto") && pair[1] == chain;
        self.words.windows(2).any(leads)
    }
}

/// An address can be written in many ways.
fn one_form(word: String) -> String {
    if let Ok(ip) = word.parse::<IpAddr>() {
        return ip.to_string();
    }
    match word.parse::<IpNet>() {
        Ok(net) if net.prefix_len() == net.max_prefix_len() => net.addr().to_string(),
        Ok(net) => net.trunc().to_string(),
        Err(_) => word,
    }
}
