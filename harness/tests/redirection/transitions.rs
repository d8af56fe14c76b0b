//! Random walks over everything that happens to the rules of a host: whatever came before, a plan that is applied ends in
//! exactly its own rules, nothing of ours is left anywhere else, and nothing of others is touched.
//!
//! What is right is not asked of our own comparison alone: the kernel's own text of our rules must equal that of a fresh
//! namespace which has seen only this one plan.
//!
//! `PROPTEST_CASES=100` walks longer. A failure prints the shortest walk that was found, and its seed is kept in
//! `proptest-regressions`, which is tried first from then on.

#[path = "transitions/host.rs"]
mod host;
#[path = "transitions/others.rs"]
mod others;
#[path = "transitions/plans.rs"]
mod plans;

use std::path::Path;
use std::sync::Arc;

use linkerd_harness::redirection::{self, Firewall, Host};
use linkerd_harness_core::config::Mode;
use linkerd_harness_core::redirect::backend::Backend;
use linkerd_harness_core::redirect::{Plan, State};
use proptest::prelude::*;
use proptest::test_runner::{Config, FileFailurePersistence, TestCaseError, TestRunner};

use self::host::{Rules, same};
use self::plans::Wanted;
use crate::netns::Namespace;
use crate::setup::RUN_DIR;

/// One thing that happens to the rules of a host.
#[derive(Clone, Debug)]
enum Step {
    /// A plan is applied, by a driver of this mode: the one of the last step when that has the same mode.
    Apply(Mode, Wanted),
    /// What was applied last is applied once more: as a repair where something happened since.
    Again,
    /// Chains without jumps, as the daemon lays them at its start.
    Groundwork(Mode, Wanted),
    /// Redirects nothing any more.
    Withdraw,
    /// The daemon dies; the next one knows nothing of what is there.
    Crash,
    /// Everything of ours goes.
    Cleanup,
    /// Another program changes rules of its own, or ours.
    Others(Vec<String>),
}

/// A host on its walk.
struct Walk {
    host: Namespace,
    driver: Option<(Mode, Backend, Arc<Host>)>,
    /// What was applied last, and where.
    applied: Option<(Backend, Plan)>,
    /// Whether something happened to our rules since.
    tainted: bool,
    /// As it was when others changed something last.
    foreign: String,
}

macro_rules! regressions {
    () => {
        concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/proptest-regressions/transitions-"
        )
    };
}

/// Mostly one backend, and now and then a change of mode.
pub(crate) fn any_walk_ends_in_exactly_what_is_wanted(mode: Mode) {
    let regressions: &str = match mode {
        Mode::Legacy => concat!(regressions!(), "legacy.txt"),
        Mode::Nftables => concat!(regressions!(), "nftables.txt"),
        Mode::Nft | Mode::Auto => concat!(regressions!(), "nft.txt"),
    };
    let cases = std::env::var("PROPTEST_CASES").ok();
    let mut runner = TestRunner::new(Config {
        cases: cases.and_then(|text| text.parse().ok()).unwrap_or(12),
        max_shrink_iters: 300,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(regressions))),
        ..Config::default()
    });
    let walks = prop::collection::vec(step(mode), 1..20);
    if let Err(failure) = runner.run(&walks, |steps| walk(&steps)) {
        panic!("{failure}");
    }
}

fn step(mode: Mode) -> impl Strategy<Value = Step> {
    let any = prop_oneof![
        4 => Just(mode),
        1 => prop::sample::select(vec![Mode::Auto, Mode::Nft, Mode::Legacy, Mode::Nftables]),
    ];
    prop_oneof![
        6 => (any.clone(), plans::wanted()).prop_map(|(mode, wanted)| Step::Apply(mode, wanted)),
        5 => Just(Step::Again),
        1 => (any, plans::wanted()).prop_map(|(mode, wanted)| Step::Groundwork(mode, wanted)),
        2 => Just(Step::Withdraw),
        1 => Just(Step::Crash),
        1 => Just(Step::Cleanup),
        6 => others::commands(mode).prop_map(Step::Others),
    ]
}

fn walk(steps: &[Step]) -> Result<(), TestCaseError> {
    let host = Namespace::new("walk");
    let mut walk = Walk {
        foreign: Rules::of(&host).foreign,
        host,
        driver: None,
        applied: None,
        tainted: false,
    };
    for (number, step) in steps.iter().enumerate() {
        walk.take(step)
            .map_err(|error| TestCaseError::fail(format!("step {number}: {error}")))?;
    }
    walk.take(&Step::Cleanup)
}

// === impl Walk ===

impl Walk {
    fn take(&mut self, step: &Step) -> Result<(), TestCaseError> {
        let before = Rules::of(&self.host);
        match step {
            Step::Apply(mode, wanted) => self.apply(*mode, &wanted.plan())?,
            Step::Again => {
                if let Some((backend, plan)) = self.applied.clone() {
                    let tainted = self.tainted;
                    self.apply(mode_of(backend), &plan)?;
                    if !tainted {
                        same(&Rules::of(&self.host).ours, &before.ours, "applied twice")?;
                    }
                }
            }
            Step::Groundwork(mode, wanted) => {
                let (_, driver) = self.driver(*mode);
                let laid = self
                    .host
                    .block_on(driver.prepare_connections(&wanted.plan()));
                prop_assert!(laid.is_ok(), "{:?}", laid);
                let rules = Rules::of(&self.host);
                prop_assert_eq!(before.jumps(), rules.jumps());
                self.tainted = true;
            }
            Step::Withdraw => {
                let mode = self.driver.as_ref().map_or(Mode::Auto, |(mode, ..)| *mode);
                let (_, driver) = self.driver(mode);
                let withdrawn = self.host.block_on(driver.withdraw());
                prop_assert!(withdrawn.is_ok(), "{:?}", withdrawn);
                let rules = Rules::of(&self.host);
                prop_assert_eq!(rules.jumps(), [""; 0]);
                prop_assert_eq!(rules.ours_without_jumps(), before.ours_without_jumps());
                self.tainted = true;
            }
            Step::Crash => self.driver = None,
            Step::Cleanup => {
                let removed = self.host.block_on(redirection::cleanup(Path::new(RUN_DIR)));
                prop_assert!(removed.is_ok(), "{:?}", removed);
                same(&Rules::of(&self.host).ours, "", "after cleanup")?;
                self.tainted = true;
            }
            Step::Others(commands) => {
                let script = format!("exec 2>/dev/null; {}; true", commands.join("; "));
                self.host.run(&["sh", "-c", &script], "");
                self.foreign = Rules::of(&self.host).foreign;
                self.tainted = true;
            }
        }
        same(&Rules::of(&self.host).foreign, &self.foreign, "others'")?;
        Ok(())
    }

    fn apply(&mut self, mode: Mode, plan: &Plan) -> Result<(), TestCaseError> {
        let (backend, driver) = self.driver(mode);
        let (applied, look) = self
            .host
            .block_on(async { (driver.apply(plan).await, driver.look(plan).await) });
        prop_assert!(applied.is_ok(), "{:?}", applied);
        prop_assert_eq!(look.map(|look| look.state).ok(), Some(State::Applied));
        same(&Rules::of(&self.host).ours, &alone(backend, plan), "ours")?;
        self.applied = Some((backend, plan.clone()));
        self.tainted = false;
        Ok(())
    }

    /// The driver of the last step, or a new one, which chooses as the daemon does at its start.
    fn driver(&mut self, mode: Mode) -> (Backend, Arc<Host>) {
        if let Some((of, backend, driver)) = &self.driver
            && *of == mode
        {
            return (*backend, Arc::clone(driver));
        }
        let opened = self.host.block_on(Host::open(mode, Path::new(RUN_DIR)));
        let (driver, choice) = opened.unwrap();
        let driver = Arc::new(driver);
        self.driver = Some((mode, choice.backend, Arc::clone(&driver)));
        (choice.backend, driver)
    }
}

/// Our rules of a host that has seen nothing but this plan.
fn alone(backend: Backend, plan: &Plan) -> String {
    let host = Namespace::new("alone");
    crate::setup::apply(&host, mode_of(backend), plan);
    Rules::of(&host).ours
}

fn mode_of(backend: Backend) -> Mode {
    match backend {
        Backend::Nft => Mode::Nft,
        Backend::Legacy => Mode::Legacy,
        Backend::Nftables => Mode::Nftables,
    }
}
