//! When a status is written: when it is another one, and not too soon after the last time. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::Shown;
use crate::crd::status::ExternalGroupStatus;
use crate::kubernetes::known::Key;

/// Between two writes of one group.
pub(super) const BETWEEN: Duration = Duration::from_secs(10);
/// What is refused will be refused again until a person does something.
pub(super) const REFUSED: Duration = Duration::from_secs(300);

/// What was written of which group, and when.
#[derive(Debug, Default)]
pub(super) struct Pace {
    groups: BTreeMap<Key, Last>,
}

#[derive(Debug)]
struct Last {
    uid: String,
    /// What was last written, and what the API server kept of it.
    written: Option<(ExternalGroupStatus, ExternalGroupStatus)>,
    not_before: Instant,
}

/// When to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// It is as it is wanted, or as near to it as this API server comes.
    Never,
    /// At once.
    Now,
    /// Later.
    At(Instant),
}

// === impl Pace ===

impl Pace {
    /// The status that the next one follows, for the moments of its conditions.
    pub(super) fn before<'a>(&'a self, key: &Key, shown: &'a Shown) -> &'a ExternalGroupStatus {
        let written = self.last(key, shown).and_then(|last| last.written.as_ref());
        written.map_or(&shown.status, |(wanted, _)| wanted)
    }

    pub(super) fn due(
        &self,
        key: &Key,
        shown: &Shown,
        wanted: &ExternalGroupStatus,
        now: Instant,
    ) -> Due {
        if shown.status == *wanted {
            return Due::Never;
        }
        let Some(last) = self.last(key, shown) else {
            return Due::Now;
        };
        // It was written like this, and this is what came of it.
        let is_all = |(written, kept): &(_, _)| written == wanted && *kept == shown.status;
        if last.written.as_ref().is_some_and(is_all) {
            Due::Never
        } else if last.not_before > now {
            Due::At(last.not_before)
        } else {
            Due::Now
        }
    }

    /// It was written, and the API server has kept so much of it.
    pub(super) fn wrote(
        &mut self,
        key: &Key,
        uid: &str,
        written: (ExternalGroupStatus, ExternalGroupStatus),
        now: Instant,
    ) {
        let last = Last {
            uid: uid.to_owned(),
            written: Some(written),
            not_before: now + BETWEEN,
        };
        self.groups.insert(key.clone(), last);
    }

    /// It could not be written, and is not tried again for a while.
    pub(super) fn failed(&mut self, key: &Key, uid: &str, wait: Duration, now: Instant) {
        let before = self.groups.remove(key).filter(|last| last.uid == uid);
        let last = Last {
            uid: uid.to_owned(),
            written: before.and_then(|last| last.written),
            not_before: now + wait,
        };
        self.groups.insert(key.clone(), last);
    }

    pub(super) fn retain(&mut self, is_there: impl Fn(&Key) -> bool) {
        self.groups.retain(|key, _| is_there(key));
    }

    fn last(&self, key: &Key, shown: &Shown) -> Option<&Last> {
        self.groups.get(key).filter(|last| last.uid == shown.uid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(workloads: i32) -> ExternalGroupStatus {
        ExternalGroupStatus {
            workloads: Some(workloads),
            ..ExternalGroupStatus::default()
        }
    }

    fn shown(status: ExternalGroupStatus) -> Shown {
        Shown {
            uid: "1".to_owned(),
            status,
            ..Shown::default()
        }
    }

    fn key() -> Key {
        ("n".to_owned(), "a".to_owned())
    }

    #[test]
    fn the_first_is_written_at_once_the_next_after_a_while_and_an_equal_one_never() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        let none = shown(status(0));
        assert_eq!(pace.due(&key(), &none, &status(0), start), Due::Never);
        assert_eq!(pace.due(&key(), &none, &status(1), start), Due::Now);
        pace.wrote(&key(), "1", (status(1), status(1)), start);
        let one = shown(status(1));
        assert_eq!(pace.due(&key(), &one, &status(1), start), Due::Never);
        let then = start + BETWEEN;
        assert_eq!(pace.due(&key(), &one, &status(2), start), Due::At(then));
        assert_eq!(pace.due(&key(), &one, &status(2), then), Due::Now);
        // By hand.
        assert_eq!(
            pace.due(&key(), &shown(status(9)), &status(1), then),
            Due::Now
        );
        let another = Shown {
            uid: "2".to_owned(),
            ..none
        };
        assert_eq!(pace.due(&key(), &another, &status(1), start), Due::Now);
    }

    #[test]
    fn what_the_api_server_does_not_keep_is_not_written_for_ever() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        let pruned = ExternalGroupStatus::default();
        pace.wrote(&key(), "1", (status(1), pruned.clone()), start);
        let later = start + BETWEEN * 100;
        let shown = shown(pruned);
        assert_eq!(pace.due(&key(), &shown, &status(1), later), Due::Never);
        assert_eq!(pace.due(&key(), &shown, &status(2), later), Due::Now);
        assert_eq!(pace.before(&key(), &shown), &status(1));
    }

    #[test]
    fn what_is_refused_waits_longer() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        pace.failed(&key(), "1", REFUSED, start);
        let (then, shown) = (start + REFUSED, shown(status(0)));
        assert_eq!(pace.due(&key(), &shown, &status(1), start), Due::At(then));
        assert_eq!(pace.due(&key(), &shown, &status(1), then), Due::Now);
    }
}
