//! The one owner of the host's rules: brings them in, keeps them, takes them out.

mod keep;
mod vigil;

use std::sync::Arc;
use std::time::Duration;

use linkerd_harness_core::redirect::Plan;
use linkerd_harness_core::redirect::contest::{Contest, Suspects};
use linkerd_harness_core::redirect::netlink::Writer;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, info, warn};

use self::vigil::Vigil;
use super::Firewall;
use super::error::Error;
use super::exec::with_children;
use super::heard::Heard;
use super::phase::{Phase, Redirection, View, report};
use crate::backoff::Backoff;
use crate::report::Report;

/// How often the host is compared with the plan when nothing was heard.
pub const SWEEP: Duration = Duration::from_secs(10);

/// So many times less often where every change would be heard of: each look runs programs, on a host where nothing happens.
const RARELY: u32 = 6;

/// Between attempts of a change that failed.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// So many failures in a row are logged as warnings, the rest at debug.
const LOUD: u64 = 3;

/// What moves the owner of the rules.
#[derive(Debug)]
pub struct Inputs {
    /// What is wanted; `None` when nothing is to be redirected.
    pub plans: watch::Receiver<Option<Arc<Plan>>>,
    /// Changes that the kernel told of. May be one of which nothing is ever heard.
    pub heard: watch::Receiver<Heard>,
    /// How often to look when nothing was heard; [`SWEEP`]. Rules that are in place are looked at less often where the
    /// kernel tells of every change.
    pub sweep: Duration,
}

/// Makes the host match the newest of the plans, where `None` means that nothing is redirected, and keeps it so: what fails
/// is tried again, what drifts is repaired, what comes back is taken out, and who undoes the repairs again and again is named. A change that has begun is
/// finished before the next one, so what [`Redirection`] says holds: after `plans` got `None`, [`Phase::Removed`] means that
/// nothing is redirected any more.
///
/// `views` holds what the last look showed, `None` while nothing is wanted.
///
/// Ends when `plans` has no sender any more, and then leaves the host as it is.
pub async fn supervise<F: Firewall>(
    firewall: F,
    inputs: Inputs,
    phase: watch::Sender<Redirection>,
    reports: watch::Sender<Report>,
    views: watch::Sender<Option<View>>,
) {
    let Inputs {
        mut plans,
        heard,
        sweep,
    } = inputs;
    let mut owner = Owner {
        firewall,
        phase,
        reports,
        views,
        vigil: Vigil::new(heard),
        contest: Contest::default(),
        returns: Contest::default(),
        begun: Instant::now(),
        backoff: Backoff::new(RETRY.0, RETRY.1, 10),
        failures: 0,
        applied: None,
    };
    loop {
        let plan = owner.take(&mut plans);
        let outcome = match &plan {
            Some(plan) => owner.keep(plan).await,
            None => owner.take_out().await,
        };
        let next = owner.next_after(outcome);
        let sweep = owner.patience(sweep);
        tokio::select! {
            changed = plans.changed() => if changed.is_err() { return },
            () = owner.vigil.disturbed(), if next == Next::Look => {}
            () = async {
                match next {
                    Next::Look => sleep_until(Instant::now() + sweep).await,
                    Next::At(at) => sleep_until(at).await,
                }
            } => {}
        }
    }
}

struct Owner<F> {
    firewall: F,
    phase: watch::Sender<Redirection>,
    reports: watch::Sender<Report>,
    views: watch::Sender<Option<View>>,
    vigil: Vigil,
    contest: Contest,
    /// How often rules came back while none were wanted.
    returns: Contest,
    /// From when the times of the contest count.
    begun: Instant,
    backoff: Backoff,
    failures: u64,
    /// The plan that was in place when we last looked.
    applied: Option<Arc<Plan>>,
}

/// What there is to do when the plan stays the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// Look when a change is heard of, or after a while.
    Look,
    /// Go on at this time; what is heard meanwhile changes nothing.
    At(Instant),
}

/// What went wrong with what.
enum Failure {
    Apply(Error),
    Check(Error),
    Remove(Error),
}

impl<F: Firewall> Owner<F> {
    /// The newest plan. When it asks for something else than what is there, that is published while the channel is still
    /// held: whoever sends the next plan can no longer see the phase of the one before.
    fn take(&self, plans: &mut watch::Receiver<Option<Arc<Plan>>>) -> Option<Arc<Plan>> {
        let plan = plans.borrow_and_update();
        if *plan != self.applied || plan.is_none() && self.phase.borrow().phase != Phase::Removed {
            self.set_phase(Phase::Changing);
        }
        plan.clone()
    }

    async fn take_out(&mut self) -> Result<Next, Failure> {
        // Also when we applied nothing: a daemon before us may have.
        let begun = Instant::now();
        let again = self.phase.borrow().phase == Phase::Removed;
        let mark = self.vigil.begin_look();
        let by = self.vigil.suspects();
        let (done, children) = with_children(self.firewall.withdraw()).await;
        self.vigil.changed_by_us(children);
        if done.is_err() {
            self.set_phase(Phase::Changing);
        }
        let found = done.map_err(Failure::Remove)?;
        self.vigil.forget_suspects(mark);
        if found && again {
            self.say_came_back(by);
        } else if found || self.applied.is_some() {
            info!(ms = %milliseconds(begun), "rules withdrawn");
        }
        self.applied = None;
        self.views.send_replace(None);
        self.set_phase(Phase::Removed);
        self.publish(report::not_wanted());
        Ok(Next::Look)
    }

    /// Who saves the rules of a host and loads them later may load ours, at a time when there is no proxy behind them.
    fn say_came_back(&mut self, by: Vec<Writer>) {
        let told = self.returns.repaired(self.begun.elapsed(), by.clone());
        let by: Suspects = by.into_iter().collect();
        if told.loud {
            warn!(%by, "rules of ours came back while none are wanted, withdrawn again");
        } else {
            debug!(%by, "rules of ours came back while none are wanted, withdrawn again");
        }
    }

    /// How long to wait for news. Without rules of ours, some may come back in a backend that the kernel tells nothing of.
    fn patience(&self, sweep: Duration) -> Duration {
        let in_place = self.phase.borrow().phase == Phase::Applied;
        if in_place && self.vigil.is_complete() {
            sweep * RARELY
        } else {
            sweep
        }
    }

    /// Says what failed.
    fn next_after(&mut self, outcome: Result<Next, Failure>) -> Next {
        let failure = match outcome {
            Ok(next) => {
                if self.failures > LOUD {
                    info!(attempts = self.failures, "rules can be changed again");
                }
                self.failures = 0;
                self.backoff.reset();
                return next;
            }
            Err(failure) => failure,
        };
        self.failures += 1;
        let (report, what) = match &failure {
            Failure::Apply(error) => (report::apply_failed(error), "rules could not be applied"),
            Failure::Check(error) => (report::check_failed(error), "rules could not be checked"),
            Failure::Remove(error) => (report::remove_failed(error), "rules could not be removed"),
        };
        let error = report.message.clone();
        if self.failures <= LOUD {
            warn!(%error, "{what}");
        } else {
            debug!(%error, "{what}");
        }
        self.publish(report);
        Next::At(Instant::now() + self.backoff.next_wait())
    }

    /// Wakes nobody when nothing is new, so a quiet host stays quiet.
    fn publish(&self, report: Report) {
        self.reports.send_if_modified(|held| {
            let new = *held != report;
            *held = report;
            new
        });
    }

    fn set_phase(&self, phase: Phase) {
        self.phase
            .send_if_modified(|state| std::mem::replace(&mut state.phase, phase) != phase);
    }
}

/// Since then, with a tenth: what `make bench` reads.
fn milliseconds(begun: Instant) -> String {
    format!("{:.1}", begun.elapsed().as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests;
