//! One comparison of the host with the plan, and what it leads to.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use linkerd_harness_core::redirect::contest::{Suspects, Told};
use linkerd_harness_core::redirect::{Drift, Plan, State};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::super::Firewall;
use super::super::error::Error;
use super::super::exec::with_children;
use super::super::phase::{Phase, View, report};
use super::vigil::Mark;
use super::{Failure, Next, Owner, milliseconds};
use crate::report::Report;

impl<F: Firewall> Owner<F> {
    /// Looks, and brings the rules in or repairs them where they are not as they should be.
    pub(super) async fn keep(&mut self, plan: &Arc<Plan>) -> Result<Next, Failure> {
        let ours = self.applied.as_ref() == Some(plan);
        self.contest.set_held(plan.is_held());
        let begun = self.vigil.begin_look();
        let state =
            self.look(plan)
                .await
                .map_err(if ours { Failure::Check } else { Failure::Apply })?;
        let drifts = match state {
            State::Applied => {
                if !ours {
                    info!("rules are in place");
                }
                self.found_in_place(plan, ours, begun);
                return Ok(Next::Look);
            }
            State::Absent => vec![],
            State::Drifted(drifts) => drifts,
        };
        if ours {
            self.repair(plan, &drifts).await
        } else {
            self.bring_in(plan).await
        }
    }

    async fn look(&mut self, plan: &Arc<Plan>) -> Result<State, Error> {
        // It may write: see `dialect`, and what an earlier run left in another backend.
        let (look, children) = with_children(self.firewall.look(plan)).await;
        self.vigil.changed_by_us(children);
        let look = look?;
        let state = look.state.clone();
        self.views.send_replace(Some(View {
            plan: Arc::clone(plan),
            look,
            at: SystemTime::now(),
        }));
        Ok(state)
    }

    fn found_in_place(&mut self, plan: &Arc<Plan>, ours: bool, begun: Mark) {
        let at = self.now();
        self.vigil.forget_suspects(begun);
        if let Some(fight) = self.contest.found_in_place(at) {
            info!(by = %fight.by, times = fight.times, "our rules are left alone again");
        }
        // For a while, a repair is what an operator wants to see.
        let news = ours
            && self.contest.repaired_lately(at)
            && self.reports.borrow().reason == report::REPAIRED;
        let report = if news {
            self.reports.borrow().clone()
        } else {
            self.in_place()
        };
        self.settle(plan, report);
    }

    /// The report on rules that are as wanted, for now or for good.
    fn in_place(&self) -> Report {
        let fight = self.contest.fight();
        fight.map_or_else(report::applied, |fight| report::contested(fight, None))
    }

    /// A plan that is new, which is not a repair, whatever is there.
    async fn bring_in(&mut self, plan: &Arc<Plan>) -> Result<Next, Failure> {
        let begun = Instant::now();
        let mark = self.vigil.mark();
        // When it fails, what is there is neither the plan of before nor this one: no drift of either.
        self.applied = None;
        self.apply(plan).await?;
        self.vigil.forget_suspects(mark);
        info!(ms = %milliseconds(begun), "rules applied");
        let report = self.in_place();
        Ok(self.confirm(plan, report).await)
    }

    async fn repair(&mut self, plan: &Arc<Plan>, drifts: &[Drift]) -> Result<Next, Failure> {
        self.set_phase(Phase::Changing);
        if let Some(next) = self.held_back(drifts) {
            return Ok(next);
        }
        let mark = self.vigil.mark();
        let by = self.vigil.suspects();
        self.apply(plan).await?;
        self.vigil.forget_suspects(mark);
        let told = self.contest.repaired(self.now(), by.iter().cloned());
        let mut repairs = 0;
        self.phase.send_modify(|state| {
            state.repairs += 1;
            state.last_repair = Some(SystemTime::now());
            repairs = state.repairs;
        });
        let report = self.say_repaired(drifts, &by.into_iter().collect(), told, repairs);
        Ok(self.confirm(plan, report).await)
    }

    /// A line while it is news, and one when it becomes a fight.
    fn say_repaired(&self, drifts: &[Drift], by: &Suspects, told: Told, repairs: u64) -> Report {
        let drift = report::in_words(drifts);
        if told.loud {
            warn!(%drift, %by, repairs, "rules had drifted, applied again");
        } else {
            debug!(%drift, %by, repairs, "rules had drifted, applied again");
        }
        let Some(fight) = self.contest.fight() else {
            return report::repaired(drifts, by, repairs);
        };
        let report = report::contested(fight, None);
        if told.fight_began {
            warn!("{}", report.message);
        }
        report
    }

    async fn apply(&mut self, plan: &Arc<Plan>) -> Result<(), Failure> {
        let (done, children) = with_children(self.firewall.apply(plan)).await;
        self.vigil.changed_by_us(children);
        done.map_err(Failure::Apply)
    }

    /// Shows what is there after an apply. Rules that are gone again are no drift yet: that is what the next look finds,
    /// which a change by somebody else leads to, or else the sweep.
    async fn confirm(&mut self, plan: &Arc<Plan>, report: Report) -> Next {
        let drifts = match self.look(plan).await {
            Ok(State::Applied) => {
                self.settle(plan, report);
                return Next::Look;
            }
            Err(error) => {
                debug!(error = %error.in_full(), "cannot look at the rules that were just applied");
                self.settle(plan, report);
                return Next::Look;
            }
            Ok(State::Absent) => vec![],
            Ok(State::Drifted(drifts)) => drifts,
        };
        self.applied = Some(Arc::clone(plan));
        self.set_phase(Phase::Changing);
        let held_back = self.held_back(&drifts);
        if held_back.is_none() {
            self.publish(report);
        }
        held_back.unwrap_or(Next::Look)
    }

    /// In a fight, until it is time for the next repair; told with what is wrong meanwhile.
    fn held_back(&self, drifts: &[Drift]) -> Option<Next> {
        let at = self.contest.not_before().filter(|at| self.now() < *at)?;
        let fight = self.contest.fight()?;
        self.publish(report::contested(fight, Some(drifts)));
        Some(Next::At(self.begun + at))
    }

    fn settle(&mut self, plan: &Arc<Plan>, report: Report) {
        self.applied = Some(Arc::clone(plan));
        self.set_phase(Phase::Applied);
        self.publish(report);
    }

    fn now(&self) -> Duration {
        self.begun.elapsed()
    }
}
