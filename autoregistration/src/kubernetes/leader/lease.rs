//! Who may lead, decided from a Lease and a clock of one's own. Pure.
//!
//! Nobody's wall clock is believed, the times in the Lease are for people. What counts is that the record has not
//! changed for the lease's time *by the clock of who watches*, and that its holder stops earlier *by the holder's own*:
//!
//! ```text
//! holder     sends a renewal ─────────── renew ──────▶ stops
//! record           └─▶ changes
//! candidate              └─▶ sees the change ─────────── lease ──────▶ may take it
//! ```
//!
//! The holder counts from before the change and the candidate from after it, so delays only make the gap wider.
//! Clocks may run at different speeds as long as `lease / renew` bounds the ratio. A write replaces the version that was
//! seen, or fails.
//!
//! A Lease that somebody has deleted says nothing of a holder who does not know it yet. Who makes it anew therefore
//! keeps it for the lease's time before it leads. Only a person who empties the holder's name by hand can make two lead.

use std::time::Duration;

/// A lease that says more than this about its own length is not believed.
const LONGEST_LEASE: Duration = Duration::from_secs(60);

/// How long leadership lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// A record that has not changed for so long may be taken.
    pub lease: Duration,
    /// A holder that could not renew for so long stops. Well below `lease`.
    pub renew: Duration,
    /// Between two looks, and between two renewals.
    pub retry: Duration,
}

/// What a Lease says, as it was read or written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// Version of the object; `None` when there is none.
    pub(super) version: Option<String>,
    /// Who holds it; empty when it was released.
    pub(super) holder: String,
    /// How long its holder counts on it.
    pub(super) lease: Duration,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Look at the record.
    Read,
    /// Write it with ourselves as its holder, in place of the version that was seen.
    Write,
    /// Nothing for now; somebody else leads.
    Wait,
}

/// One candidate's view. Times are of its own clock, which only goes forward.
#[derive(Clone, Debug)]
pub(super) struct Election {
    me: String,
    timing: Timing,
    seen: Option<Record>,
    changed: Duration,
    look_again: bool,
    /// Since when we hold a record that did not come to us from another holder: somebody may still lead by one that is
    /// gone.
    on_trial: Option<Duration>,
    until: Option<Duration>,
}

// === impl Timing ===

impl Default for Timing {
    /// As Kubernetes' own controllers do it.
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(15),
            renew: Duration::from_secs(10),
            retry: Duration::from_secs(2),
        }
    }
}

// === impl Election ===

impl Election {
    /// A candidate. `me` must be of this process alone: another one of the same name would lead at the same time.
    pub(super) fn new(me: String, timing: Timing) -> Self {
        Self {
            me,
            timing,
            seen: None,
            changed: Duration::ZERO,
            look_again: true,
            on_trial: None,
            until: None,
        }
    }

    pub(super) fn step(&self, now: Duration) -> Step {
        let Some(seen) = self.seen.as_ref().filter(|_| !self.look_again) else {
            return Step::Read;
        };
        if seen.holder == self.me || seen.holder.is_empty() {
            return Step::Write;
        }
        let lease = self.timing.lease.max(seen.lease.min(LONGEST_LEASE));
        if now.saturating_sub(self.changed) >= lease {
            Step::Write
        } else {
            Step::Wait
        }
    }

    /// The record was read, and the answer is here.
    pub(super) fn read(&mut self, now: Duration, record: Record) {
        self.look_again = false;
        let changed = self.seen.as_ref().map(|seen| &seen.version) != Some(&record.version);
        if record.version.is_none() {
            // We may lead on until our time is over: nobody else leads before.
            self.on_trial = None;
        } else if record.holder != self.me {
            self.on_trial = None;
            self.until = None;
        } else if changed && !self.leads(now) {
            // A request of ours that we had given up: who knows what was there when it came through.
            self.on_trial = Some(now);
        }
        if changed {
            self.changed = now;
        }
        self.seen = Some(record);
    }

    /// We are the holder; the request to become it was sent at the time `sent`.
    pub(super) fn wrote(&mut self, sent: Duration, now: Duration, record: Record) {
        self.look_again = false;
        let made = self
            .seen
            .as_ref()
            .is_some_and(|seen| seen.version.is_none());
        if made && !self.leads(now) {
            self.on_trial = Some(now);
        }
        let proven = |since: Duration| sent.saturating_sub(since) >= self.timing.lease;
        if self.on_trial.is_none_or(proven) {
            self.on_trial = None;
            self.until = Some(sent.saturating_add(self.timing.renew));
        }
        self.changed = now;
        self.seen = Some(record);
    }

    /// What was seen is not what is there, or may not be.
    pub(super) fn look_again(&mut self) {
        self.look_again = true;
    }

    /// We stop, whatever the record says.
    pub(super) fn resign(&mut self) {
        self.until = None;
    }

    /// Whether the record is ours to give to the next one, who would lead at once.
    pub(super) fn may_release(&self) -> bool {
        self.is_mine() && self.on_trial.is_none()
    }

    /// Until when we lead, unless we renew.
    pub(super) fn until(&self) -> Option<Duration> {
        self.until
    }

    pub(super) fn leads(&self, now: Duration) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    /// Whether the record named us when it was last seen.
    pub(super) fn is_mine(&self) -> bool {
        let ours = |seen: &Record| seen.holder == self.me;
        self.seen.as_ref().is_some_and(ours)
    }

    pub(super) fn me(&self) -> &str {
        &self.me
    }

    pub(super) fn timing(&self) -> Timing {
        self.timing
    }

    pub(super) fn seen(&self) -> Option<&Record> {
        self.seen.as_ref()
    }
}

#[cfg(test)]
mod tests;
