//! How many `Hello`s a replica takes: so many a second of all, of which no identity has more than its share while others
//! come as well, and of one machine only so often.
//!
//! That all VMs come at once is the normal case after a restart of ours. Those for whom there is no room are told when
//! to come again, one after the other, so that they don't come back all at once.

mod buckets;
#[cfg(test)]
mod tests;

use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rand::Rng as _;
use tokio::time::Instant;

use self::buckets::{Buckets, Caller};
use super::bucket::Rate;
use crate::identity::SpiffeId;
use crate::refusal::{Reason, Refusal};

/// How many `Hello`s are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Of all.
    pub replica: Rate,
    /// The share of one SPIFFE ID. It may have more as long as half of [`Self::replica`]'s burst is left for others.
    pub identity: Rate,
    /// Of one machine of a SPIFFE ID.
    pub instance: Rate,
}

/// What there was too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Limit {
    /// `Hello`s.
    Replica,
    /// `Hello`s of this SPIFFE ID.
    Identity,
    /// `Hello`s of this machine.
    Instance,
    /// Streams that have not said `Hello`.
    Silent,
    /// Messages on a stream.
    Messages,
}

/// Who was let in of late.
#[derive(Debug)]
pub(super) struct Limiter {
    limits: Limits,
    started: Instant,
    keys: RandomState,
    buckets: Mutex<Buckets>,
}

// === impl Limits ===

impl Default for Limits {
    fn default() -> Self {
        Self {
            replica: Rate::new(Duration::from_millis(5), 400),
            identity: Rate::new(Duration::from_millis(50), 100),
            instance: Rate::new(Duration::from_secs(5), 3),
        }
    }
}

// === impl Limit ===

impl Limit {
    /// As metrics call it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Replica => "replica",
            Self::Identity => "identity",
            Self::Instance => "instance",
            Self::Silent => "silent",
            Self::Messages => "messages",
        }
    }

    /// The refusal of one who is to come again after `wait`.
    pub(super) fn refusal(self, wait: Duration) -> Refusal {
        let why = match self {
            Self::Replica => "too many VMs register at this moment",
            Self::Identity => "too many VMs with this SPIFFE ID register at this moment",
            Self::Instance => "this machine registers again and again",
            Self::Silent => "too many streams wait for their Hello",
            Self::Messages => "too many messages on one stream",
        };
        Refusal::new(Reason::RateLimited, why).retry_after(wait)
    }
}

// === impl Limiter ===

impl Limiter {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            started: Instant::now(),
            keys: RandomState::new(),
            buckets: Mutex::default(),
        }
    }

    /// Whether one more `Hello` of `caller` is taken. `instance` is its machine, `None` for a question that is not a
    /// machine's, of which an operator may have a few in a row.
    pub(super) fn take(
        &self,
        caller: &SpiffeId,
        instance: Option<&[u8]>,
    ) -> Result<(), (Limit, Duration)> {
        // Random keys: nobody can choose names that share a bucket.
        let caller = Caller {
            identity: self.keys.hash_one(caller),
            instance: instance.map(|instance| self.keys.hash_one((caller, instance))),
        };
        let now = self.started.elapsed();
        let jitter = rand::rng().random();
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        buckets.take(&self.limits, caller, now, jitter)
    }
}
