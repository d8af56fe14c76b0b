//! What was heard of changes to the packet filter.

use std::collections::VecDeque;

use linkerd_harness_core::redirect::netlink::{Transaction, Writer};

/// So many are remembered: more than there are between two looks.
const REMEMBERED: usize = 256;

/// The transactions that the kernel told of. Whoever looks at the rules remembers [`Heard::count`] from before the look, and
/// later asks what came [after](Heard::after).
#[derive(Debug, Default)]
pub struct Heard {
    /// All of them, also those that do not concern us.
    all: u64,
    /// Those that may have changed what we compare.
    count: u64,
    /// The newest of them: the last one is number `count`.
    newest: VecDeque<Option<Writer>>,
    /// Whether the kernel tells of all of them.
    complete: bool,
}

impl Heard {
    /// Takes one in. `true` when it concerns us.
    pub fn add(&mut self, transaction: Transaction) -> bool {
        self.all += 1;
        if !transaction.concerns_us {
            return false;
        }
        self.count += 1;
        self.newest.push_back(transaction.writer);
        if self.newest.len() > REMEMBERED {
            self.newest.pop_front();
        }
        true
    }

    /// From now on the kernel tells of every change, or may not.
    pub fn set_complete(&mut self, complete: bool) {
        self.complete = complete;
    }

    /// Whether no change goes unheard.
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// How many transactions the kernel told of, ours too.
    pub fn all(&self) -> u64 {
        self.all
    }

    /// How many of them may have changed what we compare.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Who made the ones after the first `count`, as far as they are remembered; `None` where the kernel did not say.
    pub fn after(&self, count: u64) -> impl Iterator<Item = Option<&Writer>> {
        let new = usize::try_from(self.count.saturating_sub(count)).unwrap_or(usize::MAX);
        let skip = self.newest.len().saturating_sub(new);
        self.newest.iter().skip(skip).map(Option::as_ref)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mk_transaction(pid: u32, concerns_us: bool) -> Transaction {
        Transaction {
            concerns_us,
            writer: (pid != 0).then(|| Writer {
                pid,
                port: pid,
                name: "nft".to_owned(),
            }),
        }
    }

    #[test]
    fn what_came_after_a_look_is_known() {
        let mut heard = Heard::default();
        assert!(heard.add(mk_transaction(1, true)));
        assert!(!heard.add(mk_transaction(2, false)));
        let looked = heard.count();
        assert_eq!(heard.after(looked).count(), 0);
        heard.add(mk_transaction(3, true));
        heard.add(mk_transaction(0, true));
        let pids = |count| -> Vec<_> {
            let writers = heard.after(count);
            writers
                .map(|writer| writer.map(|writer| writer.pid))
                .collect()
        };
        assert_eq!(pids(looked), [Some(3), None]);
        assert_eq!(pids(0), [Some(1), Some(3), None]);
        assert_eq!((heard.all(), heard.count()), (4, 3));
    }

    #[test]
    fn a_storm_is_not_remembered_for_ever_but_is_heard() {
        let mut heard = Heard::default();
        for pid in 1..1000 {
            heard.add(mk_transaction(pid, true));
        }
        assert_eq!(heard.after(0).count(), REMEMBERED);
        assert_eq!(heard.after(998).count(), 1);
        assert_eq!(heard.after(2000).count(), 0);
    }
}
