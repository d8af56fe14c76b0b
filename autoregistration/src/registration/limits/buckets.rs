//! The buckets: who was let in, and when those who were not are to come again. Pure; the time is that since some start.

use std::collections::HashMap;
use std::time::Duration;

use super::super::bucket::Bucket;
use super::{Limit, Limits};

/// The latest that anybody is told to come again: less than the time after which a VM that is away counts as lost.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// Over how much the returns are spread around their turn.
const SPREAD: Duration = Duration::from_secs(1);
/// Buckets that are kept without looking which of them are full.
const FEW: usize = 1024;

/// Who asks, hashed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller {
    pub(super) identity: u64,
    pub(super) instance: Option<u64>,
}

/// The buckets. Only one who is let in makes one, and it is dropped when it is full again, so that there are never more
/// than were let in within the time that the slowest takes to fill.
#[derive(Debug, Default)]
pub(super) struct Buckets {
    replica: Bucket,
    identities: HashMap<u64, Bucket>,
    instances: HashMap<u64, Bucket>,
    /// When the last of those has its turn who were sent away for want of room.
    last_turn: Duration,
    look_at: usize,
}

// === impl Buckets ===

impl Buckets {
    /// Takes one `Hello`, or says what there are too many of and when to come again. `jitter` is from 0 to 1.
    pub(super) fn take(
        &mut self,
        limits: &Limits,
        caller: Caller,
        now: Duration,
        jitter: f64,
    ) -> Result<(), (Limit, Duration)> {
        let of = |buckets: &HashMap<u64, Bucket>, key| buckets.get(&key).copied();
        let mut instance = caller
            .instance
            .map(|key| (key, of(&self.instances, key).unwrap_or_default()));
        let mut identity = of(&self.identities, caller.identity).unwrap_or_default();

        if let Some((_, bucket)) = &instance
            && let Err(wait) = bucket.check(limits.instance, 1, now)
        {
            return Err((Limit::Instance, wait + SPREAD.mul_f64(jitter)));
        }
        // Work is conserved: an identity beyond its share has what nobody else asks for.
        let within_share = identity.check(limits.identity, 1, now).is_ok();
        let (limit, room) = if within_share {
            (Limit::Replica, limits.replica)
        } else {
            let kept = limits.replica.half();
            (Limit::Identity, limits.replica.without(kept))
        };
        if let Err(wait) = self.replica.check(room, 1, now) {
            let turn = self.next_turn(now + wait, limits.replica.interval(), now);
            return Err((limit, turn.saturating_sub(now) + SPREAD.mul_f64(jitter)));
        }

        // A token is taken only by who gets all that it needs: nobody is punished for our being busy.
        self.replica.take(limits.replica, 1, now);
        identity.take(limits.identity, 1, now);
        self.identities.insert(caller.identity, identity);
        if let Some((key, bucket)) = &mut instance {
            bucket.take(limits.instance, 1, now);
            self.instances.insert(*key, *bucket);
        }
        self.forget(now);
        Ok(())
    }

    /// The turn of one who finds no room: after all others who found none, so that they come one by one. When the queue
    /// is as long as it may be, they are spread over its second half by their number.
    fn next_turn(&mut self, earliest: Duration, interval: Duration, now: Duration) -> Duration {
        let turn = self.last_turn.max(earliest).saturating_add(interval);
        self.last_turn = if turn.saturating_sub(now) > LONGEST_WAIT {
            now + LONGEST_WAIT / 2
        } else {
            turn
        };
        turn
    }

    fn forget(&mut self, now: Duration) {
        if self.len() >= self.look_at.max(FEW) {
            self.identities.retain(|_, bucket| !bucket.is_full(now));
            self.instances.retain(|_, bucket| !bucket.is_full(now));
            self.look_at = self.len() * 2;
        }
    }

    /// How many are kept.
    pub(super) fn len(&self) -> usize {
        self.identities.len() + self.instances.len()
    }
}
