//! The plan as one table of nftables, and the transactions (`nft -f -`) that bring it in and take it out.
//!
//! The table is ours alone: both families are in it, nobody else's rules are, and to delete it is to remove everything.
//! Its base chains hold one jump each and come just ahead of the priority where Docker and kube-proxy translate addresses,
//! since the first translation of a connection is the only one.

mod fill;
mod group;
mod hook;
mod rule;
mod set;
mod table;

use table::Table;

use super::look::Live;
use super::plan::Plan;
use super::purpose::Purpose;
use super::rule::Chain;
use super::state::{Drift, State};

/// Family and name of the table.
pub const TABLE: &str = "inet linkerd_proxy_harness";

/// One ahead of `dstnat`, where other programs translate destinations.
const PRIORITY: i32 = -101;

/// The whole table, as `nft list table` would print it but for counters. For people and for golden files.
pub fn show(plan: &Plan) -> String {
    fill::wanted(plan).to_string()
}

/// The transactions, in their order, that make the table match the plan. `listing` is `nft list table`, `None` where there
/// is no such table. What is in place is not touched, except that the rules are always written anew.
///
/// The rules change in one transaction, so there is no moment without them. Sets are filled in one before and deleted in
/// one after: with both in one transaction, a new rule finds its set still empty, or an old rule finds it already empty,
/// for as long as the kernel takes for the rest of the transaction, and an exempt connection that comes then is redirected
/// (measured: 5 of 4000 under load). For the same reason a set is named after its content and never changes.
pub fn apply(plan: &Plan, listing: Option<&str>) -> Vec<String> {
    let live = listing.map(Table::parse);
    fill::transactions(&fill::wanted(plan), live.as_ref())
}

/// The transactions that lay the table without a jump into its chains. None when there is a table already. For what it is
/// good for, see [`super::iptables::groundwork`].
pub fn groundwork(plan: &Plan, listing: Option<&str>) -> Vec<String> {
    if listing.is_some() {
        return vec![];
    }
    let mut wanted = fill::wanted(plan);
    for chain in &mut wanted.chains {
        if chain.hook.is_some() {
            chain.rules.clear();
        }
    }
    fill::transactions(&wanted, None)
}

/// The transaction after which nothing is redirected any more: the base chains are emptied. `None` when they are.
///
/// All chains stay, for the base chains keep address translation going and the rest connection tracking, and with them the
/// connections that were redirected before.
pub fn withdrawal(listing: &str) -> Option<String> {
    let leads = |chain: &&table::Chain| own(&chain.name).is_none() && !chain.rules.is_empty();
    let table = Table::parse(listing);
    let flush = |chain: &table::Chain| format!("flush chain {TABLE} {}\n", chain.name);
    let lines: Vec<String> = table.chains.iter().filter(leads).map(flush).collect();
    (!lines.is_empty()).then(|| lines.concat())
}

/// The transaction that takes everything of ours out, where there is a table.
pub fn removal() -> String {
    format!("delete table {TABLE}\n")
}

/// What a host has of a plan.
pub fn state(plan: &Plan, listing: Option<&str>) -> State {
    let Some(listing) = listing else {
        return State::Absent;
    };
    let (wanted, live) = (fill::wanted(plan), Table::parse(listing));
    let mut drifts: Vec<Drift> = Chain::ALL
        .into_iter()
        .flat_map(|chain| {
            [
                hook_drift(chain, &wanted, &live),
                rules_drift(chain, &wanted, &live),
            ]
        })
        .flatten()
        .collect();
    let changed = |set: &&set::Set| !live.sets.iter().any(|other| set.same(other));
    let changed = wanted.sets.iter().filter(changed);
    drifts.extend(changed.map(|set| Drift::SetDiffers(set.name.clone())));
    drifts.extend(live.unwanted(&wanted).map(Drift::NotOurs));
    if drifts.is_empty() {
        State::Applied
    } else {
        State::Drifted(drifts)
    }
}

/// The rules in the table, the jumps first.
pub fn live(listing: &str) -> Vec<Live> {
    let table = Table::parse(listing);
    let mut rules = Vec::new();
    for chain in Chain::ALL {
        for name in [base_name(chain), name(chain)] {
            let found = table.chain(name).into_iter().flat_map(|found| &found.rules);
            rules.extend(found.map(|rule| {
                Live {
                    family: None,
                    chain,
                    purpose: rule
                        .comment()
                        .and_then(Purpose::in_comment)
                        .unwrap_or_default()
                        .to_owned(),
                    matched: rule.matched,
                }
            }));
        }
    }
    rules
}

/// How this `nft` prints the plan, when there is no doubt that it is the plan: every chain, rule and set is there under
/// its name, and nothing else. See [`super::iptables::print`].
pub fn print(plan: &Plan, listing: &str) -> Option<String> {
    let (wanted, live) = (fill::wanted(plan), Table::parse(listing));
    let right = live.unwanted(&wanted).next().is_none()
        && wanted.sets.iter().all(|set| live.set(&set.name).is_some())
        && wanted.chains.iter().all(|chain| {
            live.chain(&chain.name)
                .is_some_and(|live| chain.alike(live))
        });
    right.then(|| live.to_string())
}

/// A listing of our table without what changes by itself: its counters.
pub fn bare(listing: &str) -> String {
    Table::parse(listing).to_string()
}

/// A chain's name in the table.
fn name(chain: Chain) -> &'static str {
    match chain {
        Chain::Redirect => "proxy_init_redirect",
        Chain::Output => "proxy_init_output",
    }
}

/// Name and hook of the base chain that jumps to it.
fn base_name(chain: Chain) -> &'static str {
    match chain {
        Chain::Redirect => "prerouting",
        Chain::Output => "output",
    }
}

fn own(chain: &str) -> Option<Chain> {
    Chain::ALL.into_iter().find(|own| name(*own) == chain)
}

fn rules_drift(chain: Chain, wanted: &Table, live: &Table) -> Option<Drift> {
    let Some(live) = live.chain(name(chain)) else {
        return Some(Drift::ChainMissing(chain));
    };
    let wanted = wanted.chain(name(chain))?;
    let lacks = |rules: &[rule::Rule], rule: &rule::Rule| !rules.iter().any(|r| r.same(rule));
    let missing = wanted.rules.iter().filter(|rule| lacks(&live.rules, rule));
    let unwanted = live.rules.iter().filter(|rule| lacks(&wanted.rules, rule));
    (!wanted.same_rules(live)).then(|| Drift::RulesDiffer {
        chain,
        missing: missing.count(),
        unwanted: unwanted.count(),
    })
}

fn hook_drift(chain: Chain, wanted: &Table, live: &Table) -> Option<Drift> {
    let wanted = wanted.chain(base_name(chain))?;
    let Some(live) = live.chain(base_name(chain)) else {
        return Some(Drift::NotHooked(chain));
    };
    if live.hook != wanted.hook {
        Some(Drift::NotHooked(chain))
    } else if wanted.same_rules(live) {
        None
    } else if live.rules.iter().any(|rule| rule.leads_to(name(chain))) {
        Some(Drift::JumpMisplaced(chain))
    } else {
        Some(Drift::JumpMissing(chain))
    }
}
