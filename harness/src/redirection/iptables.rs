//! The driver for `iptables`, either backend, both families.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use linkerd_harness_core::redirect::backend::Backend;
use linkerd_harness_core::redirect::{self, Family, Live, Look, Plan, State};

use super::cleanup::Extent;
use super::dialect::Dialect;
use super::error::Error;
use super::tools::Tools;
use super::{Firewall, cleanup};

/// Rules through `iptables-restore` of one backend.
#[derive(Debug)]
pub(super) struct Iptables {
    backend: Backend,
    v4: Tools,
    v6: Option<Tools>,
    /// Whether we ever had rules of IPv6.
    v6_used: AtomicBool,
    dialect: Dialect,
    run_dir: PathBuf,
}

// === impl Iptables ===

impl Iptables {
    pub(super) async fn find(backend: Backend, run_dir: &Path) -> Result<Self, Error> {
        let find = |family| Tools::find(backend, family);
        let v4 = find(Family::V4).await.ok_or(Error::NoFamily {
            family: Family::V4,
            backend,
        })?;
        Ok(Self {
            backend,
            v4,
            v6: find(Family::V6).await,
            v6_used: AtomicBool::new(false),
            dialect: Dialect::default(),
            run_dir: run_dir.to_owned(),
        })
    }

    /// See [`redirect::iptables::groundwork`].
    pub(super) async fn prepare_connections(&self, plan: &Plan) -> Result<(), Error> {
        self.serves(plan)?;
        for family in plan.families() {
            let text = |dump: &str| redirect::iptables::groundwork(plan, *family, dump);
            self.writer(*family)?.change("prepare", text).await?;
        }
        Ok(())
    }

    /// Whether there are programs for each family of the plan. Asked before anything is changed.
    pub(super) fn serves(&self, plan: &Plan) -> Result<(), Error> {
        let mut families = plan.families().iter();
        families.try_for_each(|family| self.tools(*family).map(drop))
    }

    fn tools(&self, family: Family) -> Result<&Tools, Error> {
        match family {
            Family::V4 => Ok(&self.v4),
            Family::V6 => self.v6.as_ref().ok_or(Error::NoFamily {
                family,
                backend: self.backend,
            }),
        }
    }

    /// The programs, about to write.
    fn writer(&self, family: Family) -> Result<&Tools, Error> {
        self.v6_used
            .fetch_or(family == Family::V6, Ordering::Relaxed);
        self.tools(family)
    }

    /// The programs, where we write ourselves: there we look without asking whether the table exists, for the list of
    /// legacy tables may be incomplete without root. IPv6 only when we used it, since to look into a legacy table makes it.
    fn own_tools(&self, family: Family) -> Option<&Tools> {
        let ours = family == Family::V4 || self.v6_used.load(Ordering::Relaxed);
        self.tools(family).ok().filter(|_| ours)
    }

    /// Takes out what is ours in a family that is not in the plan.
    pub(super) async fn remove_others(&self, plan: &Plan) -> Result<(), Error> {
        for family in [Family::V4, Family::V6] {
            if !plan.families().contains(&family) {
                match self.own_tools(family) {
                    Some(tools) => tools.remove().await?,
                    None => {
                        cleanup::take_out(Extent::All, (self.backend, Some(family)), &self.run_dir)
                            .await?
                    }
                };
            }
        }
        Ok(())
    }

    async fn write(&self, plan: &Plan, family: Family) -> Result<(), Error> {
        let text = |dump: &str| Some(redirect::iptables::apply(plan, family, dump));
        let changed = self.writer(family)?.change("apply", text).await;
        changed.map(drop)
    }

    /// See [`Dialect`]. Takes what a look at rules that were just applied has shown, and gives what is there now.
    async fn learn(&self, plan: &Plan, family: Family, dump: String) -> Result<String, Error> {
        if State::of(plan, family, &dump) == State::Applied {
            self.dialect.learn(Some(family), plan, None);
            return Ok(dump);
        }
        let Some(first) = redirect::iptables::print(plan, family, &dump) else {
            return Ok(dump);
        };
        self.write(plan, family).await?;
        let dump = self.tools(family)?.dump().await?;
        if redirect::iptables::print(plan, family, &dump).as_ref() == Some(&first) {
            self.dialect.learn(Some(family), plan, Some(first));
        }
        Ok(dump)
    }
}

impl Firewall for Iptables {
    async fn apply(&self, plan: &Plan) -> Result<(), Error> {
        self.serves(plan)?;
        for family in plan.families() {
            self.write(plan, *family).await?;
            self.dialect.applied(Some(*family), plan);
        }
        Ok(())
    }

    async fn withdraw(&self) -> Result<bool, Error> {
        let mut result = Ok(false);
        // Every part is tried, whatever became of the ones before; the first error is told.
        for family in [Family::V4, Family::V6] {
            let withdrawn = match self.own_tools(family) {
                Some(tools) => tools.withdraw().await,
                None => {
                    cleanup::take_out(Extent::Jumps, (self.backend, Some(family)), &self.run_dir)
                        .await
                }
            };
            result = cleanup::either(result, withdrawn);
        }
        result
    }

    async fn look(&self, plan: &Plan) -> Result<Look, Error> {
        let mut states = Vec::new();
        let mut rules = Vec::new();
        let mut text = String::new();
        for family in plan.families() {
            let mut dump = self.tools(*family)?.dump().await?;
            if self.dialect.is_unseen(Some(*family), plan) {
                dump = self.learn(plan, *family, dump).await?;
            }
            let print = || redirect::iptables::print(plan, *family, &dump);
            let state = State::of(plan, *family, &dump);
            let state = self.dialect.judge(Some(*family), plan, state, print);
            // Where the host has what is wanted in the words of another iptables, ours are as good.
            let live = match state {
                State::Applied => redirect::iptables::show(plan, *family),
                _ => redirect::iptables::live(plan, *family, &dump),
            };
            states.push((*family, state));
            rules.extend(Live::of(*family, &dump));
            text.extend(["# ", &family.to_string(), "\n", &live]);
        }
        Ok(Look {
            state: State::of_families(states),
            rules,
            text,
        })
    }
}
