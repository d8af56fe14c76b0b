//! The owner of the rules at work, with what it says and hears.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use linkerd_harness::redirection::{
    Error, Firewall, Heard, Host, Inputs, Phase, Redirection, listen, report, supervise,
};
use linkerd_harness::report::Report;
use linkerd_harness_core::config::Mode;
use linkerd_harness_core::redirect::{Look, Plan};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::plans::RUN_DIR;

/// For anything that is to happen at all.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// A firewall whose looks are counted.
struct Counted(Host, Arc<AtomicU64>);

impl Firewall for Counted {
    async fn apply(&self, plan: &Plan) -> Result<(), Error> {
        self.0.apply(plan).await
    }

    async fn withdraw(&self) -> Result<bool, Error> {
        self.0.withdraw().await
    }

    async fn look(&self, plan: &Plan) -> Result<Look, Error> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.look(plan).await
    }
}

/// The owner of the rules of a host.
pub(crate) struct Owner {
    pub(crate) plans: watch::Sender<Option<Arc<Plan>>>,
    pub(crate) reports: watch::Receiver<Report>,
    pub(crate) phase: watch::Receiver<Redirection>,
    pub(crate) heard: watch::Receiver<Heard>,
    looks: Arc<AtomicU64>,
    _tasks: JoinSet<()>,
}

impl Owner {
    /// With the rules of this plan in place; looks without a reason every `sweep`.
    pub(crate) async fn start(mode: Mode, plan: Plan, sweep: Duration) -> Self {
        let mut owner = Self::begin(mode, plan, sweep).await;
        owner.reports(|report| report.reason == "Applied").await;
        owner
    }

    /// Does not wait for anything.
    pub(crate) async fn begin(mode: Mode, plan: Plan, sweep: Duration) -> Self {
        let (firewall, choice) = Host::open(mode, Path::new(RUN_DIR)).await.unwrap();
        let looks = Arc::new(AtomicU64::new(0));
        let (plans, plans_in) = watch::channel(Some(Arc::new(plan)));
        let (heard_out, heard) = watch::channel(Heard::default());
        let (phase_out, phase) = watch::channel(Redirection::default());
        let (reports_out, reports) = watch::channel(report::starting());
        let inputs = Inputs {
            plans: plans_in,
            heard: heard.clone(),
            sweep,
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(listen(choice.backend, heard_out));
        tasks.spawn(supervise(
            Counted(firewall, Arc::clone(&looks)),
            inputs,
            phase_out,
            reports_out,
            watch::Sender::new(None),
        ));
        Self {
            plans,
            reports,
            phase,
            heard,
            looks,
            _tasks: tasks,
        }
    }

    /// Waits until the rules stand so.
    pub(crate) async fn stands(&mut self, phase: Phase) {
        let there = self.phase.wait_for(|state| state.phase == phase);
        timeout(LIMIT, there).await.unwrap().unwrap();
    }

    /// Waits for such a report.
    pub(crate) async fn reports(&mut self, wanted: impl FnMut(&Report) -> bool) -> Report {
        let report = timeout(LIMIT, self.reports.wait_for(wanted)).await;
        let report = report.map(|report| report.unwrap().clone());
        report.unwrap_or_else(|_| panic!("still {:?}", self.reports.borrow()))
    }

    pub(crate) fn looks(&self) -> u64 {
        self.looks.load(Ordering::Relaxed)
    }
}
