//! What the daemon tells of redirection at `/redirect`; `harnessctl redirect` shows it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::backend::{Backend, Choice};
use super::guard::GuardRail;
use super::look::Look;
use super::plan::Plan;
use super::rule::Family;
use super::show;
use super::state::{Drift, State};

/// The whole of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// The packet filter that was chosen; `None` when none works, which the status says.
    pub backend: Option<Chosen>,
    /// By backend: the rules as they are, or would be, put there.
    pub text: BTreeMap<String, String>,
    /// What is never redirected.
    pub guard_rails: Vec<Reasoned>,
    /// What the last look at the host showed; `None` while nothing is to be redirected.
    pub live: Option<Seen>,
}

/// A backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chosen {
    /// `nft`, `legacy`, `nftables`.
    pub name: String,
    /// Why this one, for people.
    pub because: String,
}

/// A guard rail with its reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reasoned {
    /// What is left alone.
    pub rail: GuardRail,
    /// What and why, for people.
    pub reason: String,
}

/// One look at the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// When, RFC 3339 in UTC.
    pub at: String,
    /// How long before the answer, in seconds.
    pub age_seconds: u64,
    /// `applied`, `absent` or `drifted`.
    pub state: String,
    /// In which ways it had drifted, for people.
    pub drift: Vec<String>,
    /// The rules that are wanted now. Less than [`Page::text`] while only a part is redirected.
    pub wanted: String,
    /// The rules of ours that were there, in the same form.
    pub text: String,
    /// What each of them has matched.
    pub rules: Vec<Counted>,
}

/// One rule with what it has matched since it was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// `ipv4`, `ipv6`; `both` for a rule that serves both.
    pub family: String,
    /// The chain that it leads into or is in.
    pub chain: String,
    /// Its comment, such as `ignore-proxy-user-id`; empty for one that is not of ours.
    pub purpose: String,
    /// Connections.
    pub connections: u64,
}

// === impl Page ===

impl Page {
    /// The page without a look: of a plan that is, or would be, wanted.
    pub fn of(plan: &Plan, choice: Option<&Choice>) -> Self {
        let reasoned = |rail: &GuardRail| Reasoned {
            reason: rail.to_string(),
            rail: rail.clone(),
        };
        let text = |backend: Backend| (backend.to_string(), show(plan, backend));
        Self {
            backend: choice.map(|choice| Chosen {
                name: choice.backend.to_string(),
                because: choice.because.to_owned(),
            }),
            text: Backend::ALL.into_iter().map(text).collect(),
            guard_rails: plan.guard_rails().iter().map(reasoned).collect(),
            live: None,
        }
    }
}

impl Seen {
    /// What a look at a host with this plan showed.
    pub fn of(plan: &Plan, backend: Backend, look: &Look, at: String, age_seconds: u64) -> Self {
        let (state, drift) = match &look.state {
            State::Applied => ("applied", vec![]),
            State::Absent => ("absent", vec![]),
            State::Drifted(drifts) => ("drifted", drifts.iter().map(Drift::to_string).collect()),
        };
        let counted = |rule: &super::look::Live| Counted {
            family: family(rule.family).to_owned(),
            chain: rule.chain.to_string(),
            purpose: rule.purpose.clone(),
            connections: rule.matched.packets,
        };
        Self {
            at,
            age_seconds,
            state: state.to_owned(),
            drift,
            wanted: show(plan, backend),
            text: look.text.clone(),
            rules: look.rules.iter().map(counted).collect(),
        }
    }
}

/// A rule's family in one word, as in the page and in the metrics.
pub fn family(family: Option<Family>) -> &'static str {
    match family {
        Some(Family::V4) => "ipv4",
        Some(Family::V6) => "ipv6",
        None => "both",
    }
}
