//! Which workload is written next: the most urgent, then the one that waits longest; so many a second and so many at a
//! time. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use super::step::Lane;
use crate::store::Key;

/// Calls that are under way at a time.
const AT_A_TIME: usize = 32;
/// New descriptions a second: a group that is edited rolls out slowly, and leaves room for all else.
const METADATA_PER_SECOND: u32 = 20;
/// What was saved up is at most this much of a second's writes.
const BURST: u32 = 2;
const LANES: [Lane; 5] = [
    Lane::NotReady,
    Lane::Ready,
    Lane::Create,
    Lane::Metadata,
    Lane::Delete,
];

/// Workloads that wait for a write.
#[derive(Debug)]
pub struct Queue {
    waiting: BTreeMap<Key, Place>,
    lanes: BTreeMap<Lane, BTreeSet<(u64, Key)>>,
    later: BTreeSet<(Instant, Key)>,
    writes: Bucket,
    metadata: Bucket,
    under_way: usize,
    /// Given to those that come, one after the other.
    number: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    lane: Lane,
    number: u64,
    since: Instant,
    not_before: Option<Instant>,
}

/// Tokens, which come at a steady rate and can be saved up.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    per_second: f64,
    most: f64,
    tokens: f64,
    at: Instant,
}

// === impl Queue ===

impl Queue {
    /// An empty one, for so many writes a second in the long run.
    pub fn new(writes_per_second: u32, now: Instant) -> Self {
        let writes_per_second = writes_per_second.max(1);
        Self {
            waiting: BTreeMap::new(),
            lanes: LANES.map(|lane| (lane, BTreeSet::new())).into(),
            later: BTreeSet::new(),
            writes: Bucket::new(writes_per_second, now),
            metadata: Bucket::new(METADATA_PER_SECOND.min(writes_per_second), now),
            under_way: 0,
            number: 0,
        }
    }

    /// Lets `key` wait in `lane`, not before some moment. One that waits there already keeps its place.
    pub fn put(&mut self, key: &Key, lane: Lane, not_before: Option<Instant>, now: Instant) {
        let not_before = not_before.filter(|moment| *moment > now);
        let since = match self.waiting.get(key) {
            Some(place) if (place.lane, place.not_before) == (lane, not_before) => return,
            Some(place) => place.since,
            None => now,
        };
        self.remove(key);
        self.number += 1;
        let place = Place {
            lane,
            number: self.number,
            since,
            not_before,
        };
        self.waiting.insert(key.clone(), place);
        match not_before {
            Some(moment) => drop(self.later.insert((moment, key.clone()))),
            None => self.line_up(key.clone(), place),
        }
    }

    /// Lets `key` wait no more.
    pub fn remove(&mut self, key: &Key) {
        let Some(place) = self.waiting.remove(key) else {
            return;
        };
        if let Some(moment) = place.not_before {
            self.later.remove(&(moment, key.clone()));
        }
        if let Some(lane) = self.lanes.get_mut(&place.lane) {
            lane.remove(&(place.number, key.clone()));
        }
    }

    /// The next one, whose call is under way from now on.
    pub fn take(&mut self, now: Instant) -> Option<Key> {
        self.line_up_due(now);
        if self.under_way >= AT_A_TIME || !self.writes.has(now) {
            return None;
        }
        let has_metadata = self.metadata.has(now);
        let (lane, key) = self.lanes.iter().find_map(|(lane, keys)| {
            let (_, key) = keys.first()?;
            (*lane != Lane::Metadata || has_metadata).then(|| (*lane, key.clone()))
        })?;
        self.writes.tokens -= 1.0;
        if lane == Lane::Metadata {
            self.metadata.tokens -= 1.0;
        }
        self.under_way += 1;
        self.remove(&key);
        Some(key)
    }

    /// A call has ended.
    pub fn ended(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
    }

    /// Calls that are under way.
    pub fn under_way(&self) -> usize {
        self.under_way
    }

    /// When [`Self::take`] may have another answer by the passing of time alone.
    pub fn wake(&self, now: Instant) -> Option<Instant> {
        let later = self.later.first().map(|(moment, _)| *moment);
        let has_others = self
            .lanes
            .iter()
            .any(|(lane, keys)| *lane != Lane::Metadata && !keys.is_empty());
        let has_metadata = self
            .lanes
            .get(&Lane::Metadata)
            .is_some_and(|it| !it.is_empty());
        let token = if self.under_way >= AT_A_TIME {
            None
        } else if has_others {
            Some(self.writes.next(now))
        } else if has_metadata {
            Some(self.writes.next(now).max(self.metadata.next(now)))
        } else {
            None
        };
        later.into_iter().chain(token).min()
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether `key` waits.
    pub fn contains(&self, key: &Key) -> bool {
        self.waiting.contains_key(key)
    }

    /// Those that wait.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.waiting.keys()
    }

    /// How long the first of any lane has waited.
    pub fn age(&self, now: Instant) -> Duration {
        let first = self.lanes.values().filter_map(|keys| keys.first());
        let later = self.later.first().map(|(_, key)| key);
        let first = first.map(|(_, key)| key).chain(later);
        let places = first.filter_map(|key| self.waiting.get(key));
        let ages = places.map(|place| now.saturating_duration_since(place.since));
        ages.max().unwrap_or_default()
    }

    fn line_up_due(&mut self, now: Instant) {
        while let Some((moment, key)) = self.later.pop_first() {
            if moment > now {
                self.later.insert((moment, key));
                return;
            }
            if let Some(place) = self.waiting.get_mut(&key) {
                place.not_before = None;
                let place = *place;
                self.line_up(key, place);
            }
        }
    }

    fn line_up(&mut self, key: Key, place: Place) {
        let lane = self.lanes.entry(place.lane).or_default();
        lane.insert((place.number, key));
    }
}

// === impl Bucket ===

impl Bucket {
    fn new(per_second: u32, now: Instant) -> Self {
        let most = f64::from(per_second.saturating_mul(BURST));
        Self {
            per_second: f64::from(per_second),
            most,
            tokens: most,
            at: now,
        }
    }

    fn has(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens = (self.tokens + passed * self.per_second).min(self.most);
        self.at = now;
        self.tokens >= 1.0
    }

    /// When there is a whole token.
    fn next(&self, now: Instant) -> Instant {
        let missing = (1.0 - self.tokens).max(0.0) / self.per_second;
        // A little later, so that rounding cannot make it a little too early for ever.
        let wait =
            Duration::from_secs_f64(missing) + Duration::from_micros(u64::from(missing > 0.0));
        (self.at + wait).max(now)
    }
}

#[cfg(test)]
mod tests;
