//! The table that a plan wants, and the way there.

use std::fmt::Write as _;

use super::group::{groups, jump};
use super::hook::Hook;
use super::rule::Rule;
use super::set::Set;
use super::table::{Chain, Table};
use super::{PRIORITY, TABLE, base_name, name, removal};
use crate::redirect::plan::Plan;
use crate::redirect::rule::{self, Family};
use crate::redirect::rules;

pub(super) fn wanted(plan: &Plan) -> Table {
    let mut table = Table::default();
    for chain in rule::Chain::ALL {
        let mut rules = Vec::new();
        for group in groups(plan, chain) {
            let (rule, set) = group.render();
            rules.push(Rule::parse(&rule));
            // Chains with the same exemptions share their sets, for the name tells the content.
            table
                .sets
                .extend(set.filter(|set| table.set(&set.name).is_none()));
        }
        table.chains.push(Chain {
            name: name(chain).to_owned(),
            hook: None,
            rules,
        });
    }
    for chain in rule::Chain::ALL {
        let only = (!plan.families().contains(&Family::V6)).then_some(Family::V4);
        let jumps = plan
            .jumps_to(chain)
            .then(|| jump(&rules::jump(chain), only));
        table.chains.push(Chain {
            name: base_name(chain).to_owned(),
            hook: Some(Hook {
                kind: "nat".to_owned(),
                name: base_name(chain).to_owned(),
                priority: PRIORITY.to_string(),
                policy: "accept".to_owned(),
            }),
            rules: jumps.iter().map(|rule| Rule::parse(rule)).collect(),
        });
    }
    table
}

/// The transactions, in their order, from the live table to the wanted one: sets, rules, sets that nobody needs.
pub(super) fn transactions(wanted: &Table, live: Option<&Table>) -> Vec<String> {
    let nothing = Table::default();
    let live = live.unwrap_or(&nothing);
    let retyped = |set: &Set| {
        live.set(&set.name)
            .is_some_and(|live| live.kind != set.kind)
    };
    if !live.odd.is_empty() || wanted.sets.iter().any(retyped) {
        // Somebody made our table theirs: all of it is replaced.
        return vec![format!("{}{wanted}", removal())];
    }
    let mut all = Vec::new();
    all.extend(missing_sets(wanted, live));
    all.push(rules_anew(wanted, live));
    all.extend(obsolete_sets(wanted, live));
    all
}

fn missing_sets(wanted: &Table, live: &Table) -> Option<String> {
    let mut text = String::new();
    let mut fill = Table::default();
    for set in &wanted.sets {
        match live.set(&set.name) {
            Some(there) if there.same(set) => continue,
            Some(_) => push(&mut text, format_args!("flush set {TABLE} {}", set.name)),
            None => {}
        }
        fill.sets.push(set.clone());
    }
    (!fill.sets.is_empty()).then(|| format!("{text}{fill}"))
}

fn rules_anew(wanted: &Table, live: &Table) -> String {
    let mut text = String::new();
    push(&mut text, format_args!("add table {TABLE}"));
    // Of its rules; chains and sets stay.
    push(&mut text, format_args!("flush table {TABLE}"));
    for chain in &live.chains {
        // What is hooked otherwise than it should be cannot be changed, only made anew.
        let kept = wanted
            .chain(&chain.name)
            .is_some_and(|wanted| wanted.hook == chain.hook);
        if !kept {
            push(
                &mut text,
                format_args!("delete chain {TABLE} {}", chain.name),
            );
        }
    }
    let rules = Table {
        chains: wanted.chains.clone(),
        ..Table::default()
    };
    text + &rules.to_string()
}

fn obsolete_sets(wanted: &Table, live: &Table) -> Option<String> {
    let mut text = String::new();
    for set in live
        .sets
        .iter()
        .filter(|set| wanted.set(&set.name).is_none())
    {
        push(&mut text, format_args!("delete set {TABLE} {}", set.name));
    }
    (!text.is_empty()).then_some(text)
}

fn push(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("writing to a string must succeed");
}
