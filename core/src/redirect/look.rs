//! What one look at a host shows.

use super::dump::{Dump, Matched};
use super::purpose::Purpose;
use super::rule::{Chain, Family};
use super::state::State;

/// What a host has of a plan, and what its rules have done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// Whether it is what is wanted.
    pub state: State,
    /// The rules of ours that are there, in the order in which the kernel asks them.
    pub rules: Vec<Live>,
    /// The same as text, in the form of [`show`](super::show()), so that line by line they can be compared.
    pub text: String,
}

/// One rule of ours in the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Live {
    /// Its family; `None` for a rule that serves both.
    pub family: Option<Family>,
    /// Where it leads into or is in.
    pub chain: Chain,
    /// Its comment without `proxy-init/`, such as `ignore-proxy-user-id`; empty for a rule that is not of ours.
    pub purpose: String,
    /// What it matched.
    pub matched: Matched,
}

impl Live {
    /// The rules of ours in a table `nat` that is `dump` (`iptables-save -c -t nat`), the jumps first.
    pub fn of(family: Family, dump: &str) -> Vec<Self> {
        let dump = Dump::parse(dump);
        let live = |chain, rule: &super::dump::LiveRule| Self {
            family: Some(family),
            chain,
            purpose: rule
                .comment()
                .and_then(Purpose::in_comment)
                .unwrap_or_default()
                .to_owned(),
            matched: rule.matched,
        };
        Chain::ALL
            .into_iter()
            .flat_map(|chain| {
                let jumps = dump.jumps().filter(move |(_, to)| *to == chain);
                let jumps = jumps.map(|(rule, _)| rule);
                jumps
                    .chain(dump.rules(chain.name()))
                    .map(move |rule| live(chain, rule))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_is_told_by_its_purpose() {
        let dump = "*nat\n:PROXY_INIT_OUTPUT - [0:0]\n\
            [7:420] -A OUTPUT -m comment --comment \"proxy-init/install-proxy-init-output\" -j PROXY_INIT_OUTPUT\n\
            [9:9] -A OUTPUT -j ACCEPT\n\
            [2:120] -A PROXY_INIT_OUTPUT -o lo -m comment --comment \"proxy-init/ignore-loopback\" -j RETURN\n\
            [1:60] -A PROXY_INIT_OUTPUT -j ACCEPT\nCOMMIT\n";
        let told: Vec<_> = Live::of(Family::V4, dump)
            .into_iter()
            .map(|rule| (rule.purpose, rule.matched.packets))
            .collect();
        let told: Vec<_> = told
            .iter()
            .map(|(purpose, n)| (purpose.as_str(), *n))
            .collect();
        assert_eq!(
            told,
            [
                ("install-proxy-init-output", 7),
                ("ignore-loopback", 2),
                ("", 1)
            ]
        );
    }
}
