//! Texts for `iptables-restore --noflush`: each is one transaction, all or nothing.

use std::fmt::Write as _;

use super::dump::{Dump, LiveRule, words};
use super::plan::Plan;
use super::rule::{Chain, Family};
use super::rules::{jump, rules};

/// The rules as `iptables-save` would print them, without the rest of the table. For people and for golden files.
pub fn show(plan: &Plan, family: Family) -> String {
    let mut text = String::from("*nat\n");
    for chain in Chain::ALL {
        push(&mut text, format_args!(":{chain} - [0:0]"));
    }
    for chain in wanted_jumps(plan) {
        push(
            &mut text,
            format_args!("-A {} {}", chain.hook(), jump(chain)),
        );
    }
    push_rules(&mut text, plan, family);
    text.push_str("COMMIT\n");
    text
}

/// What a table `nat` that is `dump` (`iptables-save -t nat`) has of ours, in the form of [`show`]: equal to it exactly when
/// the host matches the plan. A rule of others that is ahead of a jump of ours is in it too, since it must not be there.
pub fn live(plan: &Plan, family: Family, dump: &str) -> String {
    let dump = Dump::parse(dump);
    let mut text = String::from("*nat\n");
    for chain in Chain::ALL.into_iter().filter(|chain| dump.has(*chain)) {
        push(&mut text, format_args!(":{chain} - [0:0]"));
    }
    let mut push_live = |wanted: &[String], rule: &LiveRule| {
        // Tools of other versions quote otherwise: what means the same is to look the same.
        let same = wanted.iter().find(|wanted| words(wanted) == rule.words);
        let rule_text = same.unwrap_or(&rule.text);
        push(&mut text, format_args!("-A {} {rule_text}", rule.chain));
    };
    let jumps: Vec<(&LiveRule, Chain)> = dump.jumps().collect();
    let is_jump = |rule: &LiveRule| jumps.iter().any(|(jump, _)| std::ptr::eq(*jump, rule));
    for chain in Chain::ALL {
        let hooked: Vec<&LiveRule> = dump.rules(chain.hook()).collect();
        let last = hooked.iter().rposition(|rule| is_jump(rule));
        let wanted = jump(chain).to_string();
        for rule in hooked.iter().take(last.map_or(0, |last| last + 1)) {
            push_live(std::slice::from_ref(&wanted), rule);
        }
    }
    let hooks = Chain::ALL.map(Chain::hook);
    for (rule, _) in jumps
        .iter()
        .filter(|(rule, _)| !hooks.contains(&rule.chain.as_str()))
    {
        push_live(&[], rule);
    }
    for chain in Chain::ALL {
        let wanted = rules(plan, family, chain);
        let wanted: Vec<String> = wanted.iter().map(ToString::to_string).collect();
        for rule in dump.rules(chain.name()) {
            push_live(&wanted, rule);
        }
    }
    text.push_str("COMMIT\n");
    text
}

/// The text that makes a host whose table `nat` is `dump` (`iptables-save -t nat`) match the plan.
///
/// Declaring a chain makes it or empties it, inside of the transaction, so there is no moment without rules. A jump
/// that is there once and first is left alone; any other is deleted and one is put in front.
///
/// Jumps are deleted by what they say and not by number: when another program changed the table since the dump, the
/// transaction fails as a whole instead of deleting a rule that is not ours.
pub fn apply(plan: &Plan, family: Family, dump: &str) -> String {
    let dump = Dump::parse(dump);
    let mut text = String::from("*nat\n");
    for chain in Chain::ALL {
        push(&mut text, format_args!(":{chain} - [0:0]"));
    }
    push_rules(&mut text, plan, family);
    let in_place: Vec<Chain> = wanted_jumps(plan)
        .filter(|chain| jump_in_place(&dump, *chain))
        .collect();
    for (rule, to) in dump.jumps() {
        if !in_place.contains(&to) {
            push(&mut text, format_args!("-D {} {}", rule.chain, rule.text));
        }
    }
    for chain in wanted_jumps(plan) {
        if !in_place.contains(&chain) {
            push(
                &mut text,
                format_args!("-I {} 1 {}", chain.hook(), jump(chain)),
            );
        }
    }
    text.push_str("COMMIT\n");
    text
}

/// The text that lays our chains without a jump into them. `None` when there is one already.
///
/// They see no packet, but their REDIRECT rules turn connection tracking on. A connection that is open gets its entry with
/// its next packet, and the kernel never translates an entry that exists: so `apply`, when the proxy serves, leaves it
/// alone. Without this, on a host where nobody else uses connection tracking, every open connection would meet the proxy in
/// its middle and be reset (measured).
pub fn groundwork(plan: &Plan, family: Family, dump: &str) -> Option<String> {
    let dump = Dump::parse(dump);
    let mut text = String::new();
    for chain in Chain::ALL {
        push(&mut text, format_args!(":{chain} - [0:0]"));
    }
    push_rules(&mut text, plan, family);
    let there = Chain::ALL.into_iter().any(|chain| dump.has(chain));
    transaction(&text).filter(|_| !there)
}

/// The text after which nothing is redirected any more: every rule that leads into a chain of ours is deleted. `None` when
/// there is none.
///
/// The chains stay. They see no packet, but their REDIRECT rules keep connection tracking on, and with it the connections
/// that were redirected before: on a host where nobody else uses it, deleting them breaks those at once (measured).
pub fn withdrawal(dump: &str) -> Option<String> {
    transaction(&deleted_jumps(&Dump::parse(dump)))
}

/// The text that takes everything of ours out of a table `nat` that is `dump` (`iptables-save -t nat`), whatever plan
/// made it: every rule that leads into a chain of ours, then the chains. `None` when nothing of ours is there.
///
/// The kernel's own chains stay, also where our jump made iptables-nft create them: whether they were there before is not
/// known, `iptables-save` shows no difference, and iptables before 1.8.8 cannot delete them.
pub fn removal(dump: &str) -> Option<String> {
    let dump = Dump::parse(dump);
    let mut text = deleted_jumps(&dump);
    let chains: Vec<Chain> = Chain::ALL
        .into_iter()
        .filter(|chain| dump.has(*chain))
        .collect();
    // All are emptied before one is deleted, for one might lead to the other.
    for chain in &chains {
        push(&mut text, format_args!("-F {chain}"));
    }
    for chain in &chains {
        push(&mut text, format_args!("-X {chain}"));
    }
    transaction(&text)
}

/// How this `iptables-save` prints the plan, without counters, when there is no doubt that it is the plan: in both chains
/// the wanted purposes in their order and nothing else, and the jumps alone and first.
///
/// Rules are compared as text, and another version of iptables may have other words for the same rule. What it printed
/// right after it took ours, twice, is then what to compare with.
pub fn print(plan: &Plan, family: Family, dump: &str) -> Option<String> {
    let dump = Dump::parse(dump);
    let mut text = String::new();
    for chain in Chain::ALL {
        let jumps: Vec<_> = dump.jumps().filter(|(_, to)| *to == chain).collect();
        let wanted = plan.jumps_to(chain).then(|| jump(chain));
        let jumps_right = match (wanted, jumps.as_slice()) {
            (None, []) => true,
            (Some(wanted), [(rule, _)]) => {
                rule.comment() == Some(&wanted.purpose.to_string())
                    && dump.rules(chain.hook()).next() == Some(rule)
            }
            _ => false,
        };
        let live: Vec<_> = dump.rules(chain.name()).collect();
        let purposes = rules(plan, family, chain)
            .into_iter()
            .map(|rule| Some(rule.purpose.to_string()));
        let rules_right = live
            .iter()
            .map(|rule| rule.comment().map(str::to_owned))
            .eq(purposes);
        if !(dump.has(chain) && jumps_right && rules_right) {
            return None;
        }
        for rule in jumps.iter().map(|(rule, _)| *rule).chain(live) {
            push(&mut text, format_args!("{} {}", rule.chain, rule.text));
        }
    }
    Some(text)
}

/// Whether the jump to this chain is there once, as it should be, and first.
pub(super) fn jump_in_place(dump: &Dump, chain: Chain) -> bool {
    let once = dump.jumps().filter(|(_, to)| *to == chain).count() == 1;
    let first = dump.rules(chain.hook()).next();
    once && first.is_some_and(|rule| rule.words == words(&jump(chain).to_string()))
}

fn wanted_jumps(plan: &Plan) -> impl Iterator<Item = Chain> {
    Chain::ALL.into_iter().filter(|chain| plan.jumps_to(*chain))
}

fn deleted_jumps(dump: &Dump) -> String {
    let mut text = String::new();
    for (rule, _) in dump.jumps() {
        push(&mut text, format_args!("-D {} {}", rule.chain, rule.text));
    }
    text
}

fn transaction(changes: &str) -> Option<String> {
    (!changes.is_empty()).then(|| format!("*nat\n{changes}COMMIT\n"))
}

fn push_rules(text: &mut String, plan: &Plan, family: Family) {
    for chain in Chain::ALL {
        for rule in rules(plan, family, chain) {
            push(text, format_args!("-A {chain} {rule}"));
        }
    }
}

fn push(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("writing to a string must succeed");
}
