//! When to try, and what becomes of the result.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use linkerd_harness_core::assignment::Assignment;
use linkerd_harness_core::redirect::proof::{Direction, Outcome, Wish};
use linkerd_harness_core::redirect::{Family, Plan};
use linkerd_harness_core::status::{Proof, Shown};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, info, warn};

use super::helper::Prover;
use crate::backoff::Backoff;
use crate::clock::rfc3339;
use crate::proxy;
use crate::redirection::{Phase, Redirection};

/// After a change of the rules: several come together.
const SETTLE: Duration = Duration::from_secs(1);

/// Between any two attempts.
const APART: Duration = Duration::from_secs(10);

/// After a failure that nobody has seen yet. One that is true is so twice.
const CONFIRM: Duration = Duration::from_secs(3);

/// After a failure that was told, so that the word "failed" goes soon after its reason.
const FAILED: Duration = Duration::from_secs(60);

/// After an attempt that nobody made.
const UNANSWERED: Duration = Duration::from_secs(5 * 60);

/// Otherwise. A part of it is random, so that a fleet does not do it in step.
const SLOWLY: Duration = Duration::from_secs(30 * 60);
const JITTER_PERCENT: u8 = 25;

/// So many lines of a kind are logged as warnings, the rest at debug.
const LOUD: u32 = 3;

/// What the attempts depend on.
#[derive(Clone, Debug)]
pub struct Inputs {
    /// What is to be redirected.
    pub plan: watch::Receiver<Option<Arc<Plan>>>,
    /// Whether it is, and how often it had to be repaired.
    pub rules: watch::Receiver<Redirection>,
    /// Nothing is proven of a proxy that is not there.
    pub proxy: watch::Receiver<proxy::State>,
    /// Names a port of the workload.
    pub assignment: watch::Receiver<Option<Arc<Assignment>>>,
}

/// Rules that are in place. Others need another proof.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Subject {
    plan: Arc<Plan>,
    repairs: u64,
}

/// Has the rules tried when they are in place and the proxy serves, after each repair, and now and then. Publishes what that has shown; `None`
/// while nothing is redirected.
pub async fn keep<P: Prover>(mut inputs: Inputs, prover: P, proofs: watch::Sender<Option<Proof>>) {
    let mut keeper = Keeper::default();
    loop {
        let subject = inputs.subject();
        if subject.is_none() {
            proofs.send_if_modified(|held| held.take().is_some());
        }
        keeper.turn_to(subject);
        let work = async {
            let Some((due, subject)) = keeper.due.zip(keeper.subject.as_ref()) else {
                return std::future::pending().await;
            };
            sleep_until(due).await;
            let wish = Wish::of(&subject.plan, inputs.port());
            (wish, prover.prove(wish).await)
        };
        // Rules that change while they are tried make the attempt worthless: it says nothing of either.
        tokio::select! {
            biased;
            alive = inputs.clone().changed_from(keeper.subject.as_ref()) => if !alive { return },
            (wish, result) = work => keeper.take(wish, result, &proofs),
        }
    }
}

#[derive(Debug, Default)]
struct Keeper {
    subject: Option<Subject>,
    /// When to try next.
    due: Option<Instant>,
    last: Option<Instant>,
    /// Whether the last attempt failed and nobody was told yet.
    suspicious: bool,
    /// What the log has been told last.
    told: Vec<(Direction, Family, Outcome)>,
    /// How often a failure was told.
    failures: u32,
}

// === impl Keeper ===

impl Keeper {
    fn turn_to(&mut self, subject: Option<Subject>) {
        if self.subject == subject {
            return;
        }
        self.suspicious = false;
        self.due = subject.as_ref().map(|_| {
            let settled = Instant::now() + SETTLE;
            self.last.map_or(settled, |last| settled.max(last + APART))
        });
        self.subject = subject;
    }

    fn take(
        &mut self,
        wish: Wish,
        result: Result<Vec<Shown>, String>,
        proofs: &watch::Sender<Option<Proof>>,
    ) {
        let now = Instant::now();
        self.last = Some(now);
        let Some(subject) = &self.subject else { return };
        let answered = result.is_ok();
        let results = result.unwrap_or_else(|why| super::untried(&subject.plan, wish, &why));
        let failed = results.iter().any(|shown| shown.outcome == Outcome::Failed);
        if failed && !std::mem::replace(&mut self.suspicious, true) {
            self.due = Some(now + CONFIRM);
            return;
        }
        self.suspicious = failed;
        self.due = Some(
            now + match (answered, failed) {
                (false, _) => UNANSWERED,
                (_, true) => FAILED,
                _ => Backoff::new(SLOWLY, SLOWLY, JITTER_PERCENT).next_wait(),
            },
        );
        let proof = Proof {
            at: rfc3339(SystemTime::now()),
            results,
        };
        self.say(&proof);
        proofs.send_replace(Some(proof));
    }

    /// One line where something is new.
    fn say(&mut self, proof: &Proof) {
        let all = proof.results.iter();
        let outcomes: Vec<_> = all
            .map(|shown| (shown.direction, shown.family, shown.outcome))
            .collect();
        if self.told == outcomes {
            return;
        }
        self.told = outcomes;
        match proof.outcome() {
            Outcome::Proven => info!("redirection is proven: {proof}"),
            Outcome::Untried => warn!("redirection is not proven: {proof}"),
            Outcome::Failed => {
                self.failures += 1;
                if self.failures <= LOUD {
                    warn!("redirection does not work: {proof}");
                } else {
                    debug!(
                        failures = self.failures,
                        "redirection does not work: {proof}"
                    );
                }
            }
        }
    }
}

// === impl Inputs ===

impl Inputs {
    /// The rules that are in place.
    fn subject(&mut self) -> Option<Subject> {
        let plan = self.plan.borrow_and_update().clone();
        let rules = *self.rules.borrow_and_update();
        let serves = self.proxy.borrow_and_update().serves();
        let plan = plan.filter(|_| serves && rules.phase == Phase::Applied)?;
        Some(Subject {
            plan,
            repairs: rules.repairs,
        })
    }

    fn port(&self) -> Option<u16> {
        let assignment = self.assignment.borrow();
        let ports = &assignment.as_ref()?.workload.ports;
        ports.first().map(|port| port.port)
    }

    /// Waits until other rules are in place than these. `false` when there is nobody left to put any.
    async fn changed_from(mut self, subject: Option<&Subject>) -> bool {
        loop {
            if self.subject().as_ref() != subject {
                return true;
            }
            let alive = tokio::select! {
                changed = self.plan.changed() => changed,
                changed = self.rules.changed() => changed,
                changed = self.proxy.changed() => changed,
            };
            if alive.is_err() {
                return false;
            }
        }
    }
}

#[cfg(test)]
mod tests;
