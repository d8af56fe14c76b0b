//! Linkerd's proxy as a child process: started, watched, restarted, stopped.
//!
//! One task owns the child. What it should run with comes in through a `watch`, what it does goes out through
//! another. Whether the proxy serves is decided by [`linkerd_harness_core::truth`], never by `/ready` alone.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use linkerd_harness_core::config::Config;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::backoff::Backoff;

mod admin;
mod exit;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod listening;
mod output;
mod pulse;
mod run;
mod spawn;
mod state;
mod words;

pub use state::{Failure, Reason, State};

use run::{Ended, Run};

/// Everything that the child runs with. A different one restarts it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// The whole environment, from [`linkerd_harness_core::proxy_env`].
    pub environment: BTreeMap<String, String>,
    /// The user to run as.
    pub user_id: u32,
    /// The program.
    pub program: PathBuf,
}

/// How often to look and how long to wait.
#[derive(Clone, Debug)]
pub struct Timing {
    /// Between two looks at a proxy that starts. Short: nothing is redirected before it serves.
    pub look_starting: Duration,
    /// The same once it has been starting for `slow_start`: it waits for SPIRE, and so do we.
    pub look_slow: Duration,
    /// When a start counts as slow.
    pub slow_start: Duration,
    /// Between two looks at a proxy that serves and reaches the control plane. Its death is seen at once all the same.
    pub look_serving: Duration,
    /// How long one look may take.
    pub look_timeout: Duration,
    /// Between two looks at whether a proxy that serves lives at all, and how long it may take to answer. In sum under a
    /// second.
    pub pulse: Duration,
    /// See `pulse`.
    pub pulse_timeout: Duration,
    /// How long the proxy may claim to be ready falsely before it is killed: at start the claim can be true a moment
    /// before its proof is there.
    pub false_ready: Duration,
    /// How long a panicked proxy gets to end by itself and say why.
    pub panic: Duration,
    /// Added to the grace period before SIGKILL.
    pub stop_margin: Duration,
    /// First wait before a restart.
    pub restart_min: Duration,
    /// Longest wait before a restart.
    pub restart_max: Duration,
    /// Longest wait while the program cannot be run at all: looking for it is cheap.
    pub missing_max: Duration,
    /// How long it must have served for the waits to begin anew.
    pub settled: Duration,
}

/// Runs the proxy as `launch` says, until its sender is dropped; then stops the proxy and returns.
///
/// `None` means that it must not run: SIGTERM, the configured grace period, then SIGKILL. A proxy that was never
/// certified gets SIGKILL at once, because it would use up the whole grace period with nothing to finish.
pub async fn supervise(
    config: Arc<Config>,
    launch: watch::Receiver<Option<Arc<Launch>>>,
    state: watch::Sender<State>,
) {
    supervise_with(config, Timing::default(), launch, state).await;
}

/// [`supervise`] with other times, for tests.
pub async fn supervise_with(
    config: Arc<Config>,
    timing: Timing,
    launch: watch::Receiver<Option<Arc<Launch>>>,
    state: watch::Sender<State>,
) {
    let mut orders = Orders {
        launch,
        closed: false,
    };
    let mut backoff = Backoff::new(timing.restart_min, timing.restart_max, 20);
    let (mut last, mut repeated) = (None, 0_u32);
    while let Some(launch) = orders.next(&state).await {
        let run = Run::new(&config, &timing, &launch, &state);
        let failure = match run.run(&mut orders).await {
            Ended::Stopped => {
                backoff.reset();
                last = None;
                continue;
            }
            Ended::Failed { failure, served } => {
                if served >= timing.settled {
                    backoff.reset();
                    last = None;
                }
                failure
            }
        };
        let mut wait = backoff.next_wait();
        if failure.reason.is_about_the_program() {
            wait = wait.min(timing.missing_max);
        }
        repeated = if last == Some(failure.reason) {
            repeated + 1
        } else {
            0
        };
        last = Some(failure.reason);
        if repeated < 3 {
            warn!(reason = failure.reason.name(), wait = ?wait, "proxy failed: {}", failure.message());
        } else {
            tracing::debug!(reason = failure.reason.name(), wait = ?wait, "proxy failed again");
        }
        let until = Instant::now() + wait;
        state.send_replace(State::Backoff {
            failure,
            wait,
            until,
        });
        tokio::select! {
            () = tokio::time::sleep_until(until) => {}
            () = orders.other_than(&launch) => backoff.reset(),
        }
    }
    tell_stopped(&state);
}

fn tell_stopped(state: &watch::Sender<State>) {
    if state.send_replace(State::Stopped) != State::Stopped {
        info!("proxy stopped");
    }
}

/// What the child should run with, and whether anybody still says so.
#[derive(Debug)]
struct Orders {
    launch: watch::Receiver<Option<Arc<Launch>>>,
    closed: bool,
}

// === impl Orders ===

impl Orders {
    /// Waits for something to run; `None` when nobody gives orders any more.
    async fn next(&mut self, state: &watch::Sender<State>) -> Option<Arc<Launch>> {
        loop {
            if self.closed {
                return None;
            }
            if let Some(launch) = self.launch.borrow_and_update().clone() {
                return Some(launch);
            }
            tell_stopped(state);
            self.closed = self.launch.changed().await.is_err();
        }
    }

    /// Waits until something else than this should run, or nothing.
    async fn other_than(&mut self, present: &Launch) {
        while !self.closed {
            self.closed = self.launch.changed().await.is_err();
            if self.launch.borrow_and_update().as_deref() != Some(present) {
                return;
            }
        }
    }
}

// === impl Timing ===

impl Default for Timing {
    fn default() -> Self {
        Self {
            look_starting: Duration::from_millis(50),
            look_slow: Duration::from_millis(500),
            slow_start: Duration::from_secs(10),
            look_serving: Duration::from_secs(2),
            look_timeout: Duration::from_secs(1),
            pulse: Duration::from_millis(300),
            pulse_timeout: Duration::from_millis(500),
            false_ready: Duration::from_secs(3),
            panic: Duration::from_millis(200),
            stop_margin: Duration::from_secs(2),
            restart_min: Duration::from_millis(200),
            restart_max: Duration::from_secs(30),
            missing_max: Duration::from_secs(2),
            settled: Duration::from_secs(60),
        }
    }
}
