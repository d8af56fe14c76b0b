//! When so many VMs are lost at once that it is rather the network, or us: nobody is then called unreachable, and nothing
//! is removed. Pure, of counts and a clock that only goes forward.
//!
//! What VMs say themselves (not ready, draining, leaving) always counts; this is about silence alone. So whoever turns
//! off two fifths of the VMs in good order never comes here.
//!
//! It ends when most of the lost are back, or after [`LONGEST`]. Kubernetes' own node lifecycle controller stops for as long
//! as a zone is wholly gone. Here the VMs' endpoints stay as they were meanwhile, in Services that clients outside of the
//! mesh use too, and a failover to elsewhere may wait for them to go. A cut that nobody has mended within the hour is
//! the truth. Who knows better sooner deletes the `ExternalWorkload`s by hand: no VM that is here loses its own by it for
//! long.

use std::collections::VecDeque;
use std::time::Duration;

/// What was lost longer ago is no part of one event.
pub const WINDOW: Duration = Duration::from_secs(120);
/// It goes on for so long at most.
pub const LONGEST: Duration = Duration::from_secs(3600);
/// So few are no mass, whatever their share.
pub const FEW: usize = 5;
/// Begins above this share of those that were here, in percent.
pub const BEGINS: usize = 30;
/// Ends at this share, in percent.
pub const ENDS: usize = 15;

/// The workloads of the mesh at one moment, by a census that was complete. Those that have said that they leave, drain or
/// reboot are in neither.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// With a session somewhere.
    pub present: usize,
    /// Without one anywhere, and not yet called unreachable.
    pub lost: usize,
}

/// What has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// From now on nobody is called unreachable, and nothing is removed.
    Began,
    /// Most are back. Those who are not have their whole grace again, from now on.
    Recovered,
    /// It has lasted for so long that it is the truth. As above.
    GivenUp,
}

/// Owned by who calls VMs unreachable.
#[derive(Clone, Debug, Default)]
pub struct Breaker {
    since: Option<Duration>,
    ended: Option<Duration>,
    /// Those of the lost that no longer count as lost at once: the hour was for them.
    given_up: usize,
    /// Who was called unreachable, and when.
    called: VecDeque<(Duration, usize)>,
}

// === impl Breaker ===

impl Breaker {
    /// Takes a count. Before anybody is called unreachable, [`Self::is_active`] must have been asked after it.
    pub fn count(&mut self, now: Duration, count: Count) -> Option<Change> {
        let recently = |(at, _): &(Duration, usize)| now.saturating_sub(*at) < WINDOW;
        self.called.retain(recently);
        self.given_up = self.given_up.min(count.lost);
        let called = self.called.iter().map(|(_, number)| number).sum::<usize>();
        let lost = count.lost.saturating_sub(self.given_up);
        let lost = lost.saturating_add(called);
        let all = lost.saturating_add(count.present);
        let more_than = |percent: usize| lost.saturating_mul(100) > all.saturating_mul(percent);
        match self.since {
            None if lost > FEW && more_than(BEGINS) => {
                self.since = Some(now);
                Some(Change::Began)
            }
            Some(_) if lost <= FEW || !more_than(ENDS) => {
                self.end(now);
                Some(Change::Recovered)
            }
            Some(since) if now.saturating_sub(since) >= LONGEST => {
                self.given_up = count.lost;
                self.called.clear();
                self.end(now);
                Some(Change::GivenUp)
            }
            _ => None,
        }
    }

    /// So many were called unreachable just now. For a while they still count as lost, so that a loss that comes in waves
    /// is seen whole. Those that were given up are not counted again.
    pub fn called_unreachable(&mut self, now: Duration, number: usize) {
        let given_up = self.given_up.min(number);
        self.given_up -= given_up;
        if number > given_up {
            self.called.push_back((now, number - given_up));
        }
    }

    /// Whether nobody may be called unreachable, and nothing removed.
    pub fn is_active(&self) -> bool {
        self.since.is_some()
    }

    /// When it last ended: no silence counts from before.
    pub fn ended(&self) -> Option<Duration> {
        self.ended
    }

    /// Somebody else decides from now on, and sees for himself.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    fn end(&mut self, now: Duration) {
        self.since = None;
        self.ended = Some(now);
    }
}

#[cfg(test)]
mod tests;
