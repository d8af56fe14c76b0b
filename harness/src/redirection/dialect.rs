//! How the programs of this host print the plan that we applied.
//!
//! Wanted and live rules are compared as text, in the words of iptables 1.8.9 and nft 1.0.6. A version with other words for
//! the same rule would look like drift for ever, repaired every ten seconds. So the first look after the first apply of a
//! plan is for its words too: when the rules have all their purposes in their places and other words, it applies once more,
//! and what is printed twice is what this program prints for this plan. When it prints something else and all purposes are in place, what was
//! learned is forgotten, for the program may be another one by now; the next apply, which repairs, learns anew.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use linkerd_harness_core::redirect::{Family, Plan, State};
use tracing::{debug, warn};

#[derive(Debug, Default)]
pub(super) struct Dialect(Mutex<BTreeMap<Option<Family>, Known>>);

#[derive(Debug)]
struct Known {
    plan: Plan,
    print: Print,
}

#[derive(Debug, PartialEq, Eq)]
enum Print {
    /// It was applied, and nobody has looked yet.
    Unseen,
    /// In our words.
    Ours,
    Other(String),
}

impl Dialect {
    /// The plan was applied: unless it is known how it is printed, the next look finds out.
    pub(super) fn applied(&self, family: Option<Family>, plan: &Plan) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.get(&family).is_none_or(|known| known.plan != *plan) {
            let (plan, print) = (plan.clone(), Print::Unseen);
            all.insert(family, Known { plan, print });
        }
    }

    /// Whether this look is the one that finds out. True once after each [`Self::applied`]. `family` is `None` for a program
    /// that prints both at once.
    pub(super) fn is_unseen(&self, family: Option<Family>, plan: &Plan) -> bool {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = all.get(&family);
        let unseen = known.is_some_and(|known| known.plan == *plan && known.print == Print::Unseen);
        if unseen {
            all.remove(&family);
        }
        unseen
    }

    /// Remembers how this plan, just applied, is printed; `None` for our own words.
    pub(super) fn learn(&self, family: Option<Family>, plan: &Plan, print: Option<String>) {
        if let Some(print) = &print {
            warn!(
                "the firewall program prints our rules in other words than we know; they are compared with what it prints"
            );
            debug!(?print, "our rules as the firewall program prints them");
        }
        let plan = plan.clone();
        let print = print.map_or(Print::Ours, Print::Other);
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(family, Known { plan, print });
    }

    /// The state of a host that was compared in our words.
    pub(super) fn judge(
        &self,
        family: Option<Family>,
        plan: &Plan,
        state: State,
        print: impl FnOnce() -> Option<String>,
    ) -> State {
        if state == State::Applied {
            return state;
        }
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(known) = all.get(&family).filter(|known| known.plan == *plan) else {
            return state;
        };
        let Some(now) = print() else { return state };
        if known.print == Print::Other(now) {
            return State::Applied;
        }
        all.remove(&family);
        state
    }
}
