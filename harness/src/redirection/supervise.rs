//! The one owner of the host's rules: brings them in, keeps them, takes them out.

use std::future;
use std::sync::Arc;
use std::time::Duration;

use linkerd_harness_core::redirect::{Look, Plan, State};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tracing::{debug, info, warn};

use super::Firewall;
use super::error::Error;
use super::phase::{Phase, Redirection, View, report};
use crate::backoff::Backoff;
use crate::report::Report;

/// How often the host is compared with the plan.
const SWEEP: Duration = Duration::from_secs(10);

/// Between attempts of a change that failed.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// So many lines of a kind are logged as warnings, the rest at debug.
const LOUD: u64 = 3;

/// Makes the host match the newest of `plans`, where `None` means that nothing is redirected, and keeps it so: what fails
/// is tried again, what drifts is repaired. A change that has begun is finished before the next one, so what
/// [`Redirection`] says holds: after `plans` got `None`, [`Phase::Removed`] means that nothing is redirected any more.
///
/// `views` holds what the last look showed, `None` while nothing is wanted.
///
/// Ends when `plans` has no sender any more, and then leaves the host as it is.
pub async fn supervise<F: Firewall>(
    firewall: F,
    mut plans: watch::Receiver<Option<Arc<Plan>>>,
    phase: watch::Sender<Redirection>,
    reports: watch::Sender<Report>,
    views: watch::Sender<Option<View>>,
) {
    let mut owner = Owner {
        firewall,
        phase,
        reports,
        views,
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
        let pause = owner.pause_after(outcome, plan.is_some());
        let wait = async {
            match pause {
                Some(pause) => sleep(pause).await,
                None => future::pending().await,
            }
        };
        tokio::select! {
            changed = plans.changed() => if changed.is_err() { return },
            () = wait => {}
        }
    }
}

struct Owner<F> {
    firewall: F,
    phase: watch::Sender<Redirection>,
    reports: watch::Sender<Report>,
    views: watch::Sender<Option<View>>,
    backoff: Backoff,
    failures: u64,
    /// The plan that was in place when we last looked.
    applied: Option<Arc<Plan>>,
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

    async fn keep(&mut self, plan: &Arc<Plan>) -> Result<(), Failure> {
        let ours = self.applied.as_ref() == Some(plan);
        let look = self.firewall.look(plan).await.map_err(if ours {
            Failure::Check
        } else {
            Failure::Apply
        })?;
        self.show(plan, &look);
        let drifts = match look.state {
            State::Applied => {
                if !ours {
                    info!("rules are in place");
                }
                self.settle(plan, report::applied());
                return Ok(());
            }
            State::Absent => vec![],
            State::Drifted(drifts) => drifts,
        };
        if ours {
            self.set_phase(Phase::Changing);
        }
        let begun = Instant::now();
        self.firewall.apply(plan).await.map_err(Failure::Apply)?;
        if ours {
            let mut repairs = 0;
            self.phase.send_modify(|state| {
                state.repairs += 1;
                repairs = state.repairs;
            });
            let drift = report::in_words(&drifts);
            if repairs <= LOUD {
                warn!(%drift, repairs, "rules had drifted, applied again");
            } else {
                debug!(%drift, repairs, "rules had drifted, applied again");
            }
            self.settle(plan, report::repaired(&drifts, repairs));
        } else {
            info!(ms = %milliseconds(begun), "rules applied");
            self.settle(plan, report::applied());
        }
        Ok(())
    }

    fn show(&self, plan: &Arc<Plan>, look: &Look) {
        self.views.send_replace(Some(View {
            plan: Arc::clone(plan),
            look: look.clone(),
        }));
    }

    async fn take_out(&mut self) -> Result<(), Failure> {
        // Also when we applied nothing: a daemon before us may have.
        let begun = Instant::now();
        self.firewall.withdraw().await.map_err(Failure::Remove)?;
        if self.applied.take().is_some() {
            info!(ms = %milliseconds(begun), "rules withdrawn");
        }
        self.views.send_replace(None);
        self.set_phase(Phase::Removed);
        self.publish(report::not_wanted());
        Ok(())
    }

    fn settle(&mut self, plan: &Arc<Plan>, report: Report) {
        self.applied = Some(Arc::clone(plan));
        self.set_phase(Phase::Applied);
        self.publish(report);
    }

    /// Says what happened, and how long to wait for the next look; `None` for ever.
    fn pause_after(&mut self, outcome: Result<(), Failure>, wanted: bool) -> Option<Duration> {
        let Err(failure) = outcome else {
            if self.failures > LOUD {
                info!(attempts = self.failures, "rules can be changed again");
            }
            self.failures = 0;
            self.backoff.reset();
            return wanted.then_some(SWEEP);
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
        Some(self.backoff.next_wait())
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
