//! This host's packet filter: the driver of the backend that was chosen, and nothing of ours in any other.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use futures::future::join_all;
use linkerd_harness_core::config::Mode;
use linkerd_harness_core::redirect::backend::{self, Backend, Choice, NoBackend, Seen};
use linkerd_harness_core::redirect::{Family, Look, Plan, RuleCount, State};
use tracing::warn;

use super::cleanup::Extent;
use super::error::Error;
use super::iptables::Iptables;
use super::nftables::Nftables;
use super::{Firewall, cleanup, observe};

/// The rules of this host, through one backend.
#[derive(Debug)]
pub struct Host {
    backend: Backend,
    driver: Driver,
    run_dir: PathBuf,
    /// Whether rules of ours may be where the plan wants none: a look sees only those of the plan.
    leftovers: AtomicBool,
}

#[derive(Debug)]
enum Driver {
    Iptables(Iptables),
    Nftables(Nftables),
}

// === impl Host ===

impl Host {
    /// Looks at the host and chooses the backend. Changes nothing and loads nothing. `run_dir` is where `prepare` left
    /// what it found out.
    pub async fn open(mode: Mode, run_dir: &Path) -> Result<(Self, Choice), Error> {
        let observe::Found {
            mut observed,
            unreadable,
            said: why,
        } = observe::observe(run_dir).await;
        // The host's rules are in nf_tables, and so are ours then, but for a host that has legacy ones too.
        let aside = mode == Mode::Auto
            && unreadable
            && matches!(observed.nftables, Seen::Usable(_))
            && matches!(observed.legacy, Seen::Usable(RuleCount { all: 0, .. }));
        if aside {
            observed.legacy = Seen::Unusable;
        }
        let failed = |none| Error::NoBackend {
            none,
            why: (none != NoBackend::NoProgram)
                .then_some(why)
                .filter(|why| !why.is_empty()),
        };
        let mut choice = backend::choose(mode, &observed).map_err(failed)?;
        if aside {
            choice.because = "the host's rules are there, in a form that iptables cannot read";
        }
        let backend = choice.backend;
        let driver = match backend {
            Backend::Nft | Backend::Legacy => {
                Driver::Iptables(Iptables::find(backend, run_dir).await?)
            }
            Backend::Nftables => Driver::Nftables(Nftables::find()?),
        };
        let host = Self {
            backend,
            driver,
            run_dir: run_dir.to_owned(),
            leftovers: AtomicBool::new(true),
        };
        Ok((host, choice))
    }

    /// Lets connection tracking get to know the connections that are open before anything is redirected; see
    /// [`groundwork`](linkerd_harness_core::redirect::iptables::groundwork). Redirects nothing.
    pub async fn prepare_connections(&self, plan: &Plan) -> Result<(), Error> {
        match &self.driver {
            Driver::Iptables(driver) => driver.prepare_connections(plan).await,
            Driver::Nftables(driver) => driver.prepare_connections(plan).await,
        }
    }

    /// Whether there are programs for each family of the plan. Asked before anything is changed.
    pub fn serves(&self, plan: &Plan) -> Result<(), Error> {
        match &self.driver {
            Driver::Iptables(driver) => driver.serves(plan),
            Driver::Nftables(_) => Ok(()),
        }
    }

    /// Takes out what is ours where the plan wants nothing: in the other backends, and in families that are not in it.
    async fn remove_others(&self, plan: &Plan) -> Result<(), Error> {
        self.leftovers.store(true, Ordering::Relaxed);
        let mut result = match &self.driver {
            Driver::Iptables(driver) => driver.remove_others(plan).await,
            Driver::Nftables(_) => Ok(()),
        };
        let removed = self
            .elsewhere()
            .map(|place| cleanup::take_out(Extent::All, place, &self.run_dir));
        // At once, for the time goes into the start of programs. Every part is tried; the first error is told.
        for removed in join_all(removed).await {
            result = result.and(removed.map(drop));
        }
        self.leftovers.store(result.is_err(), Ordering::Relaxed);
        result
    }

    /// Every place but our own backend where rules of ours can be.
    fn elsewhere(&self) -> impl Iterator<Item = (Backend, Option<Family>)> {
        let own = self.backend;
        let others = Backend::ALL.into_iter().filter(move |other| *other != own);
        others.flat_map(|backend| {
            let families = cleanup::families(backend).iter();
            families.map(move |family| (backend, *family))
        })
    }
}

impl Firewall for Host {
    async fn apply(&self, plan: &Plan) -> Result<(), Error> {
        let applied = match &self.driver {
            Driver::Iptables(driver) => driver.apply(plan).await,
            Driver::Nftables(driver) => driver.apply(plan).await,
        };
        if let Err(error) = applied {
            // Both families or none: half of a plan would send one family through the proxy and the other around it.
            // Where nothing may go around it, half is better than none.
            let half = matches!(self.driver, Driver::Iptables(_)) && plan.families().len() > 1;
            if half
                && !plan.is_held()
                && let Err(undo) = self.withdraw().await
            {
                warn!(error = %undo.in_full(), "rules of one family are left behind");
            }
            return Err(error);
        }
        // Only now: until ours are in place, those of another mode redirect.
        self.remove_others(plan).await
    }

    async fn withdraw(&self) -> Result<bool, Error> {
        let mut result = match &self.driver {
            Driver::Iptables(driver) => driver.withdraw().await,
            Driver::Nftables(driver) => driver.withdraw().await,
        };
        // Every part is tried, whatever became of the ones before; the first error is told.
        let withdrawn = self
            .elsewhere()
            .map(|place| cleanup::take_out(Extent::Jumps, place, &self.run_dir));
        for withdrawn in join_all(withdrawn).await {
            result = cleanup::either(result, withdrawn);
        }
        result
    }

    async fn look(&self, plan: &Plan) -> Result<Look, Error> {
        let look = match &self.driver {
            Driver::Iptables(driver) => driver.look(plan).await,
            Driver::Nftables(driver) => driver.look(plan).await,
        }?;
        // In place, so nothing is applied: what an earlier run left, or could not be removed then, would stay.
        if look.state == State::Applied && self.leftovers.load(Ordering::Relaxed) {
            self.remove_others(plan).await?;
        }
        Ok(look)
    }
}
