//! Whether the workload may receive traffic: the group's probes, and the proxy's truth test.
//!
//! [`supervise`] owns the answer. Probes run whatever the proxy does, so that their verdicts are at hand when it serves.
//! Their connections and programs are of the uid that redirection skips, so they reach the application itself.

mod combine;
mod exec;
mod grpc;
mod http;
mod run;
mod tcp;

use std::sync::Arc;

use linkerd_harness_core::assignment::Assignment;
use linkerd_harness_core::health::{Health, State};
use linkerd_harness_core::probe::Probe;
use linkerd_harness_core::status;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tracing::{info, warn};

use combine::{Served, Verdict, combine};

use crate::proxy;
use crate::redirection::{Phase, Redirection};
use crate::report::Report;

/// What the answer is made from.
#[derive(Clone, Debug)]
pub struct Inputs {
    /// The group's probes.
    pub assignments: watch::Receiver<Option<Arc<Assignment>>>,
    /// Whether the proxy serves.
    pub proxy: watch::Receiver<proxy::State>,
    /// Whether anything was redirected to it yet.
    pub rules: watch::Receiver<Redirection>,
    /// Whether we are being stopped.
    pub draining: watch::Receiver<bool>,
    /// Who may run what.
    pub programs: Programs,
}

/// Which programs the group's probes may run on this host, and as whom.
#[derive(Clone, Copy, Debug)]
pub struct Programs {
    /// Whether any: `Health.AllowExecProbes`.
    pub allowed: bool,
    /// The user that the proxy has, too.
    pub user_id: u32,
}

/// Runs the probes of the newest assignment and combines them with whether the proxy serves and whether we drain. `seen` is
/// each probe by itself.
pub async fn supervise(
    mut inputs: Inputs,
    healths: watch::Sender<Health>,
    seen: watch::Sender<Vec<status::Probe>>,
) {
    let mut probes: Option<Vec<Probe>> = None;
    // Once: peers may send to the application's own port, and before the first rule that is the application itself.
    let mut redirected = false;
    let mut verdicts = Vec::new();
    let mut running = JoinSet::new();
    let (results, mut news) = mpsc::channel(16);
    loop {
        let wanted = inputs
            .assignments
            .borrow_and_update()
            .as_ref()
            .map(|assignment| assignment.probes.clone());
        if wanted != probes {
            running.shutdown().await;
            while news.try_recv().is_ok() {}
            let list = wanted.clone().unwrap_or_default();
            verdicts = vec![Verdict::default(); list.len()];
            let starts = run::spread(list.len());
            for ((index, probe), start) in list.into_iter().enumerate().zip(starts) {
                let results = results.clone();
                running.spawn(run::run(index, probe, start, inputs.programs, results));
            }
            probes = wanted;
        }
        redirected |= inputs.rules.borrow_and_update().phase == Phase::Applied;
        let served = match (inputs.proxy.borrow_and_update().serves(), redirected) {
            (false, _) => Served::No,
            (true, false) => Served::NotRedirected,
            (true, true) => Served::Yes,
        };
        let draining = *inputs.draining.borrow_and_update();
        let verdicts_now = probes.as_ref().map(|_| verdicts.as_slice());
        let was_healthy = healths.borrow().state == State::Healthy;
        let next = combine(draining, served, verdicts_now, was_healthy);
        healths.send_if_modified(|held| publish(held, next));
        let each = probes.iter().flatten().zip(&verdicts).map(combine::shown);
        publish_each(&seen, each.collect());
        tokio::select! {
            changed = inputs.assignments.changed() => if changed.is_err() { return },
            changed = inputs.proxy.changed() => if changed.is_err() { return },
            changed = inputs.rules.changed() => if changed.is_err() { return },
            changed = inputs.draining.changed() => if changed.is_err() { return },
            Some((index, verdict)) = news.recv() => {
                if let Some(held) = verdicts.get_mut::<usize>(index) {
                    *held = verdict;
                }
            }
        }
    }
}

/// Takes a new answer when it differs, be it in its words only, which stay on this host, and logs a new state or reason.
fn publish(held: &mut Health, next: Health) -> bool {
    if *held == next {
        return false;
    }
    let words_only = held.state == next.state && held.reason == next.reason;
    match next.state {
        _ if words_only => {}
        State::Unhealthy => warn!(reason = %next.reason, "workload not ready: {}", next.message),
        State::Healthy => info!(reason = %next.reason, "workload ready"),
        State::Starting if held.state == State::Healthy => {
            warn!(reason = %next.reason, "workload not ready: {}", next.message);
        }
        State::Starting | State::Draining => {}
    }
    *held = next;
    true
}

fn publish_each(seen: &watch::Sender<Vec<status::Probe>>, each: Vec<status::Probe>) {
    seen.send_if_modified(|held| {
        let news = *held != each;
        *held = each;
        news
    });
}

/// For `/status`.
pub fn report(health: &Health) -> Report {
    let state = match health.state {
        State::Healthy => status::State::Ok,
        State::Starting | State::Draining => status::State::Waiting,
        State::Unhealthy => status::State::Failed,
    };
    Report::new(state, health.reason, health.message.clone())
}

#[cfg(test)]
mod tests;
