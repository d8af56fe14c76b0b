//! When what was heard is a reason to look, and who may have done what is found.

use std::time::Duration;

use linkerd_harness_core::redirect::netlink::Writer;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::super::heard::Heard;

/// From the first change to the look: whoever reloads a firewall makes many.
const SETTLE: Duration = Duration::from_millis(10);

/// Between looks on a host whose rules change all the time, for each look runs a program; a few may follow faster.
const PACE: Duration = Duration::from_millis(200);
const AT_ONCE: u32 = 3;

/// How long after our own change the kernel's word of it may come.
const OWN_WORD: Duration = Duration::from_secs(5);

/// So many processes of ours are remembered when none of what they did is explained, as while every change fails.
const REMEMBERED: usize = 256;

/// How much was heard at a moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    count: u64,
    at: Instant,
}

pub(super) struct Vigil {
    heard: watch::Receiver<Heard>,
    /// What was heard before the last look; more is a reason for another one.
    looked: u64,
    /// Whether every change since then is heard of.
    complete: bool,
    /// What was heard when the rules were last known to be in place; who came later is a suspect.
    explained: u64,
    /// Processes that changed rules for us, and when that was over.
    own: Vec<(u32, Instant)>,
    /// Until when the looks so far are paid for, at one each [`PACE`].
    paid: Instant,
}

impl Vigil {
    pub(super) fn new(heard: watch::Receiver<Heard>) -> Self {
        Self {
            heard,
            looked: 0,
            complete: false,
            explained: 0,
            own: vec![],
            paid: Instant::now(),
        }
    }

    /// Before each look: what happens while it goes on leads to another one.
    pub(super) fn begin_look(&mut self) -> Mark {
        let mark = self.mark();
        self.looked = mark.count;
        self.complete = self.heard.borrow().is_complete();
        mark
    }

    /// Whether every change since the last look began is heard of.
    pub(super) fn is_complete(&self) -> bool {
        self.complete && self.heard.borrow().is_complete()
    }

    /// What was heard until now.
    pub(super) fn mark(&self) -> Mark {
        Mark {
            count: self.heard.borrow().count(),
            at: Instant::now(),
        }
    }

    /// These did what we wanted.
    pub(super) fn changed_by_us(&mut self, children: Vec<u32>) {
        let now = Instant::now();
        self.own.extend(children.into_iter().map(|pid| (pid, now)));
        let old = self.own.len().saturating_sub(REMEMBERED);
        self.own.drain(..old);
    }

    /// Who, but for us, changed something since the rules were known to be in place, as far as the kernel said.
    pub(super) fn suspects(&self) -> Vec<Writer> {
        let heard = self.heard.borrow();
        let writers = heard.after(self.explained).flatten();
        writers
            .filter(|writer| !is_own(&self.own, writer))
            .cloned()
            .collect()
    }

    /// Whoever came until then has nothing to do with what is found later.
    pub(super) fn forget_suspects(&mut self, until: Mark) {
        self.explained = until.count;
        // What the others did had been heard by then, and is explained.
        self.own.retain(|(_, at)| *at + OWN_WORD > until.at);
    }

    /// Waits for a change by somebody else after the last look began, and then until it is time to look. For ever, when
    /// nothing is heard.
    pub(super) async fn disturbed(&mut self) {
        while !self.is_disturbed() {
            if self.heard.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
        let now = Instant::now();
        let due = (self.paid.max(now) + PACE).checked_sub(PACE * AT_ONCE);
        sleep_until(due.unwrap_or(now).max(now + SETTLE)).await;
        self.paid = self.paid.max(now) + PACE;
    }

    fn is_disturbed(&mut self) -> bool {
        let heard = self.heard.borrow_and_update();
        let mut writers = heard.after(self.looked);
        writers.any(|writer| writer.is_none_or(|writer| !is_own(&self.own, writer)))
    }
}

/// Where we run in a container, the kernel's word of a process is not ours, but that of its socket is.
fn is_own(own: &[(u32, Instant)], writer: &Writer) -> bool {
    own.iter()
        .any(|(pid, _)| [writer.pid, writer.port].contains(pid))
}
