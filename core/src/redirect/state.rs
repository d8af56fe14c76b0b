//! Live rules against wanted ones.

use std::fmt;

use super::dump::{Dump, words};
use super::iptables::jump_in_place;
use super::plan::Plan;
use super::rule::{Chain, Family};
use super::rules::rules;

/// What a host has of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Exactly what is wanted.
    Applied,
    /// Nothing of ours.
    Absent,
    /// Something of ours, but not what is wanted. Never empty.
    Drifted(Vec<Drift>),
}

/// One way in which the host differs from the plan. `Display` says it to people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Drift {
    /// Rules of this family are missing as a whole.
    FamilyAbsent(Family),
    /// A chain of ours does not exist.
    ChainMissing(Chain),
    /// A chain of ours has other rules, or the same in another order.
    RulesDiffer {
        /// The chain.
        chain: Chain,
        /// How many of the wanted rules it lacks.
        missing: usize,
        /// How many rules it has that are not wanted.
        unwanted: usize,
    },
    /// Nothing leads into a chain of ours.
    JumpMissing(Chain),
    /// The jump into a chain of ours is not the only one, not the first rule, or not as it should be.
    JumpMisplaced(Chain),
    /// nftables: the base chain that jumps to a chain of ours is missing, or the kernel does not call it where it should.
    NotHooked(Chain),
    /// nftables: a set of ours, by its name, is missing or has other elements.
    SetDiffers(String),
    /// nftables: our table has something that is not ours, such as `chain x`.
    NotOurs(String),
}

impl State {
    /// The state of a host whose table `nat` of this family is `dump` (`iptables-save -t nat`).
    pub fn of(plan: &Plan, family: Family, dump: &str) -> Self {
        let dump = Dump::parse(dump);
        if dump.jumps().next().is_none() && !Chain::ALL.iter().any(|chain| dump.has(*chain)) {
            return Self::Absent;
        }
        let drifts: Vec<Drift> = Chain::ALL
            .into_iter()
            .flat_map(|chain| {
                [
                    chain_drift(plan, family, chain, &dump),
                    jump_drift(plan, chain, &dump),
                ]
            })
            .flatten()
            .collect();
        if drifts.is_empty() {
            Self::Applied
        } else {
            Self::Drifted(drifts)
        }
    }

    /// The state of a host from that of each family that the plan has.
    pub fn of_families(states: impl IntoIterator<Item = (Family, Self)>) -> Self {
        let mut drifts = Vec::new();
        let mut absent = Vec::new();
        let mut present = false;
        for (family, state) in states {
            present |= state != Self::Absent;
            match state {
                Self::Applied => {}
                Self::Absent => absent.push(Drift::FamilyAbsent(family)),
                Self::Drifted(found) => drifts.extend(found),
            }
        }
        drifts.extend(absent);
        match (present, drifts.is_empty()) {
            (false, _) => Self::Absent,
            (true, true) => Self::Applied,
            (true, false) => Self::Drifted(drifts),
        }
    }
}

fn chain_drift(plan: &Plan, family: Family, chain: Chain, dump: &Dump) -> Option<Drift> {
    if !dump.has(chain) {
        return Some(Drift::ChainMissing(chain));
    }
    let wanted: Vec<Vec<String>> = rules(plan, family, chain)
        .iter()
        .map(|rule| words(&rule.to_string()))
        .collect();
    let live: Vec<&Vec<String>> = dump.rules(chain.name()).map(|rule| &rule.words).collect();
    (!live.iter().copied().eq(&wanted)).then(|| Drift::RulesDiffer {
        chain,
        missing: wanted.iter().filter(|rule| !live.contains(rule)).count(),
        unwanted: live.iter().filter(|rule| !wanted.contains(rule)).count(),
    })
}

fn jump_drift(plan: &Plan, chain: Chain, dump: &Dump) -> Option<Drift> {
    let led_into = dump.jumps().any(|(_, to)| to == chain);
    match (plan.jumps_to(chain), led_into) {
        (true, true) => (!jump_in_place(dump, chain)).then_some(Drift::JumpMisplaced(chain)),
        (true, false) => Some(Drift::JumpMissing(chain)),
        (false, true) => Some(Drift::JumpMisplaced(chain)),
        (false, false) => None,
    }
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FamilyAbsent(family) => write!(f, "no {family} rules"),
            Self::ChainMissing(chain) => write!(f, "chain {chain} is missing"),
            Self::RulesDiffer {
                chain,
                missing: 0,
                unwanted: 0,
            } => write!(f, "chain {chain} has its rules in another order or number"),
            Self::RulesDiffer {
                chain,
                missing,
                unwanted,
            } => write!(
                f,
                "chain {chain} lacks {missing} rules and has {unwanted} others"
            ),
            Self::JumpMissing(chain) => write!(f, "{} has no jump to {chain}", chain.hook()),
            Self::JumpMisplaced(chain) => {
                write!(
                    f,
                    "the jump to {chain} is not alone and first in {}",
                    chain.hook()
                )
            }
            Self::NotHooked(chain) => {
                write!(
                    f,
                    "the base chain at {} is missing or not as it should be",
                    chain.hook()
                )
            }
            Self::SetDiffers(name) => write!(f, "set {name} is missing or has other elements"),
            Self::NotOurs(what) => write!(f, "our table has {what}, which is not ours"),
        }
    }
}
