//! The driver for `iptables`, either backend, both families.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use linkerd_harness_core::config::Mode;
use linkerd_harness_core::redirect::backend::{self, Backend, Choice, NoBackend, Observed, Seen};
use linkerd_harness_core::redirect::{self, Family, Live, Look, Plan, State};

use tracing::warn;

use super::error::Error;
use super::tools::Tools;
use super::{Firewall, cleanup, legacy};

/// Rules through `iptables-restore` of one backend.
#[derive(Debug)]
pub struct Iptables {
    backend: Backend,
    v4: Tools,
    v6: Option<Tools>,
    /// Whether we ever had rules of IPv6.
    v6_used: AtomicBool,
    run_dir: PathBuf,
}

// === impl Iptables ===

impl Iptables {
    /// Looks at the host and chooses the backend. Changes nothing and loads nothing.
    pub async fn open(mode: Mode, run_dir: &Path) -> Result<(Self, Choice), Error> {
        let (observed, why) = observe(run_dir).await;
        let failed = |none| Error::NoBackend {
            none,
            why: (none != NoBackend::NoProgram)
                .then_some(why)
                .filter(|why| !why.is_empty()),
        };
        let choice = backend::choose(mode, &observed).map_err(failed)?;
        let backend = choice.backend;
        let find = |family| Tools::find(backend, family);
        let v4 = find(Family::V4).await.ok_or(Error::NoFamily {
            family: Family::V4,
            backend,
        })?;
        let v6 = find(Family::V6).await;
        Ok((
            Self {
                backend,
                v4,
                v6,
                v6_used: AtomicBool::new(false),
                run_dir: run_dir.to_owned(),
            },
            choice,
        ))
    }

    /// Lets connection tracking get to know the connections that are open before anything is redirected; see
    /// [`redirect::iptables::groundwork`]. Redirects nothing.
    pub async fn prepare_connections(&self, plan: &Plan) -> Result<(), Error> {
        for family in plan.families() {
            let text = |dump: &str| redirect::iptables::groundwork(plan, *family, dump);
            self.v6_used
                .fetch_or(*family == Family::V6, Ordering::Relaxed);
            self.tools(*family)?.change("prepare", text).await?;
        }
        Ok(())
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

    async fn apply_families(&self, plan: &Plan) -> Result<(), Error> {
        for family in plan.families() {
            let text = |dump: &str| Some(redirect::iptables::apply(plan, *family, dump));
            self.v6_used
                .fetch_or(*family == Family::V6, Ordering::Relaxed);
            self.tools(*family)?.change("apply", text).await?;
        }
        Ok(())
    }

    /// The programs, where we write ourselves: there we look without asking whether the table exists, for the list of
    /// legacy tables may be incomplete without root. IPv6 only when we used it, since to look into a legacy table makes it.
    fn own_tools(&self, backend: Backend, family: Family) -> Option<&Tools> {
        let ours = backend == self.backend
            && (family == Family::V4 || self.v6_used.load(Ordering::Relaxed));
        self.tools(family).ok().filter(|_| ours)
    }

    /// What is there of ours and not in the plan: the other family, the other backend.
    async fn remove_the_rest(&self, plan: &Plan) -> Result<(), Error> {
        for backend in Backend::ALL {
            for family in [Family::V4, Family::V6] {
                if backend != self.backend || !plan.families().contains(&family) {
                    match self.own_tools(backend, family) {
                        Some(tools) => tools.remove().await?,
                        None => cleanup::remove(backend, family, &self.run_dir).await?,
                    };
                }
            }
        }
        Ok(())
    }
}

impl Firewall for Iptables {
    async fn apply(&self, plan: &Plan) -> Result<(), Error> {
        if let Err(error) = self.apply_families(plan).await {
            // Both families or none: half of a plan would send one family through the proxy and the other around it.
            if plan.families().len() > 1
                && let Err(undo) = self.withdraw().await
            {
                warn!(error = %undo.in_full(), "rules of one family are left behind");
            }
            return Err(error);
        }
        self.remove_the_rest(plan).await
    }

    async fn withdraw(&self) -> Result<(), Error> {
        let mut result = Ok(());
        // Every part is tried, whatever became of the ones before; the first error is told.
        for backend in Backend::ALL {
            for family in [Family::V4, Family::V6] {
                result = result.and(match self.own_tools(backend, family) {
                    Some(tools) => tools.withdraw().await.map(drop),
                    None => cleanup::withdraw(backend, family, &self.run_dir)
                        .await
                        .map(drop),
                });
            }
        }
        result
    }

    async fn look(&self, plan: &Plan) -> Result<Look, Error> {
        let mut states = Vec::new();
        let mut rules = Vec::new();
        for family in plan.families() {
            let dump = self.tools(*family)?.dump().await?;
            states.push((*family, State::of(plan, *family, &dump)));
            rules.extend(Live::of(*family, &dump));
        }
        Ok(Look {
            state: State::of_families(states),
            rules,
        })
    }
}

/// What both backends hold, and what those said that do not work.
async fn observe(run_dir: &Path) -> (Observed, String) {
    let (nft, nft_said) = observe_one(Tools::find(Backend::Nft, Family::V4).await).await;
    let (legacy, legacy_said) = match Tools::find(Backend::Legacy, Family::V4).await {
        // No table, no rules; to ask would make the tables.
        Some(_) if legacy::tables(Family::V4, run_dir).is_empty() => {
            (Seen::Usable(redirect::RuleCount::default()), None)
        }
        tools => observe_one(tools).await,
    };
    let said: Vec<String> = nft_said.into_iter().chain(legacy_said).collect();
    (Observed { nft, legacy }, said.join("; "))
}

async fn observe_one(tools: Option<Tools>) -> (Seen, Option<String>) {
    let Some(tools) = tools else {
        return (Seen::NoProgram, None);
    };
    match tools.dump_all().await {
        Ok(dump) => (Seen::Usable(redirect::foreign_rules(&dump)), None),
        Err(error) => (Seen::Unusable, Some(error.in_full())),
    }
}
