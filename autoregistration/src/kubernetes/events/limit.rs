//! At most one event of an object and reason in a while.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::{Reason, Regarding};

const PERIOD: Duration = Duration::from_secs(60);
/// Objects and reasons that are remembered. When there are more within a minute, the rest is not told.
const MOST: usize = 20_000;

#[derive(Debug, Default)]
pub(super) struct Limit {
    told: BTreeMap<(Regarding, Reason), Instant>,
    cleaned: Option<Instant>,
}

// === impl Limit ===

impl Limit {
    pub(super) fn allows(&mut self, now: Instant, key: (Regarding, Reason)) -> bool {
        let recent = |at: &Instant| now.saturating_duration_since(*at) < PERIOD;
        if !self.cleaned.as_ref().is_some_and(recent) {
            self.told.retain(|_, at| recent(at));
            self.cleaned = Some(now);
        }
        if self.told.get(&key).is_some_and(recent) {
            return false;
        }
        if self.told.len() >= MOST && !self.told.contains_key(&key) {
            return false;
        }
        self.told.insert(key, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::events::Kind;

    fn key(name: &str, reason: Reason) -> (Regarding, Reason) {
        let regarding = Regarding {
            kind: Kind::Workload,
            namespace: "a".to_owned(),
            name: name.to_owned(),
            uid: "1".to_owned(),
        };
        (regarding, reason)
    }

    #[test]
    fn an_object_and_reason_is_told_once_a_minute() {
        let (mut limit, start) = (Limit::default(), Instant::now());
        let mut at = |seconds, key| limit.allows(start + Duration::from_secs(seconds), key);
        assert!(at(0, key("a", Reason::Ready)));
        assert!(!at(59, key("a", Reason::Ready)));
        assert!(at(59, key("b", Reason::Ready)));
        assert!(at(59, key("a", Reason::Removed)));
        assert!(at(60, key("a", Reason::Ready)));
        assert!(!at(119, key("a", Reason::Ready)));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_forgotten() {
        let (mut limit, start) = (Limit::default(), Instant::now());
        for number in 0..MOST {
            assert!(limit.allows(start, key(&number.to_string(), Reason::Ready)));
        }
        assert!(!limit.allows(start, key("one more", Reason::Ready)));
        assert!(limit.allows(start + PERIOD, key("one more", Reason::Ready)));
        assert_eq!(limit.told.len(), 1);
    }
}
