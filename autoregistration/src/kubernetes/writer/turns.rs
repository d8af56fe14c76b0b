//! Whose turn it is to be taken out because its group is described anew: never more of a group at a time than the others
//! can stand in for. Those that another replica has taken out count as well.

use std::collections::{BTreeMap, BTreeSet};

use super::super::workloads::{Serving, Workloads};
use crate::store::Key;

/// One of so many that serve may be out, and one in any case.
const ONE_OF: usize = 4;

/// Who has a turn, and who waits for one.
#[derive(Debug, Default)]
pub(super) struct Turns {
    groups: BTreeMap<Key, Turn>,
    of: BTreeMap<Key, Key>,
}

#[derive(Debug, Default)]
struct Turn {
    /// About to be taken out.
    has: BTreeSet<Key>,
    waits: BTreeSet<Key>,
}

// === impl Turns ===

impl Turns {
    /// Whether it is the turn of `key`, which waits for it otherwise.
    pub(super) fn ask(&mut self, key: &Key, group: Key, workloads: &Workloads) -> bool {
        if self.of.get(key).is_some_and(|of| *of != group) {
            self.forget(key);
        }
        let serving = workloads.serving(&group);
        let turn = self.groups.entry(group.clone()).or_default();
        self.of.insert(key.clone(), group);
        if turn.has.contains(key) || turn.has_room(serving) {
            turn.waits.remove(key);
            turn.has.insert(key.clone());
            true
        } else {
            turn.waits.insert(key.clone());
            false
        }
    }

    /// It is out, or need not be.
    pub(super) fn forget(&mut self, key: &Key) {
        let Some(group) = self.of.remove(key) else {
            return;
        };
        if let Some(turn) = self.groups.get_mut(&group) {
            turn.has.remove(key);
            turn.waits.remove(key);
            if turn.has.is_empty() && turn.waits.is_empty() {
                self.groups.remove(&group);
            }
        }
    }

    /// One that waits and need not any more. It is to ask again.
    pub(super) fn next(&mut self, workloads: &Workloads) -> Option<Key> {
        let (_, turn) = self.groups.iter_mut().find(|(group, turn)| {
            !turn.waits.is_empty() && turn.has_room(workloads.serving(group))
        })?;
        turn.waits.pop_first()
    }
}

// === impl Turn ===

impl Turn {
    fn has_room(&self, Serving { ready, out }: Serving) -> bool {
        out + self.has.len() < ((ready + out) / ONE_OF).max(1)
    }
}
