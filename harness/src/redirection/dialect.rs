//! How the programs of this host print the plan that we applied.
//!
//! Wanted and live rules are compared as text, in the words of iptables 1.8.9 and nft 1.0.6. A version with other words for
//! the same rule would look like drift for ever, repaired every ten seconds. So after the first apply of a plan the driver
//! looks; when the rules have all their purposes in their places and other words, it applies once more, and what is printed
//! twice is what this program prints for this plan. When it prints something else and all purposes are in place, what was
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
    /// `None`: in our words.
    print: Option<String>,
}

impl Dialect {
    /// Whether it is known how this plan is printed. `family` is `None` for a program that prints both at once.
    pub(super) fn knows(&self, family: Option<Family>, plan: &Plan) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&family).is_some_and(|known| known.plan == *plan)
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
        if known.print.as_ref() == Some(&now) {
            return State::Applied;
        }
        all.remove(&family);
        state
    }
}
