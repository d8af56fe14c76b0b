//! Whether the workload may receive traffic: the group's probes, and the proxy's truth test.
//!
//! [`supervise`] owns the answer and publishes it only when it changes. Probes run whatever the proxy does, so that their
//! verdict is at hand when it serves.

mod http;

use std::sync::Arc;
use std::time::Duration;

use linkerd_harness_core::assignment::Assignment;
use linkerd_harness_core::health::{Health, State};
use linkerd_harness_core::probe::{Probe, Threshold};
use linkerd_harness_core::status;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tracing::{info, warn};

use crate::proxy;
use crate::report::Report;

/// Shortest period, as in Kubernetes.
const SHORTEST_PERIOD: Duration = Duration::from_secs(1);

/// What is known of one probe.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Verdict {
    healthy: Option<bool>,
    /// What the last run got.
    got: String,
}

/// Runs the probes of the newest assignment and combines them with whether the proxy serves and whether we drain.
pub async fn supervise(
    mut assignments: watch::Receiver<Option<Arc<Assignment>>>,
    mut proxy: watch::Receiver<proxy::State>,
    mut draining: watch::Receiver<bool>,
    healths: watch::Sender<Health>,
) {
    let mut probes: Option<Vec<Probe>> = None;
    let mut verdicts = Vec::new();
    let mut running = JoinSet::new();
    let (results, mut news) = mpsc::channel(16);
    loop {
        let wanted = assignments
            .borrow_and_update()
            .as_ref()
            .map(|assignment| assignment.probes.clone());
        if wanted != probes {
            running.shutdown().await;
            while news.try_recv().is_ok() {}
            let list = wanted.clone().unwrap_or_default();
            verdicts = vec![Verdict::default(); list.len()];
            for (index, probe) in list.into_iter().enumerate() {
                running.spawn(run(index, probe, results.clone()));
            }
            probes = wanted;
        }
        let next = combine(
            *draining.borrow_and_update(),
            proxy.borrow_and_update().serves(),
            probes.as_ref().map(|_| verdicts.as_slice()),
        );
        healths.send_if_modified(|held| publish(held, next));
        tokio::select! {
            changed = assignments.changed() => if changed.is_err() { return },
            changed = proxy.changed() => if changed.is_err() { return },
            changed = draining.changed() => if changed.is_err() { return },
            Some((index, verdict)) = news.recv() => {
                if let Some(held) = verdicts.get_mut::<usize>(index) {
                    *held = verdict;
                }
            }
        }
    }
}

/// The answer; `verdicts` is `None` while there is no assignment.
fn combine(draining: bool, serving: bool, verdicts: Option<&[Verdict]>) -> Health {
    if draining {
        return Health::new(State::Draining, "Draining", "the harness is being stopped");
    }
    let Some(verdicts) = verdicts else {
        return Health::new(State::Starting, "Starting", "waiting for the assignment");
    };
    if let Some(failed) = verdicts
        .iter()
        .find(|verdict| verdict.healthy == Some(false))
    {
        return Health::new(State::Unhealthy, "ProbeFailed", &failed.got);
    }
    if !serving {
        return Health::new(
            State::Starting,
            "ProxyNotServing",
            "the proxy does not serve yet",
        );
    }
    if verdicts.iter().any(|verdict| verdict.healthy.is_none()) {
        return Health::new(State::Starting, "Starting", "no probe has a verdict yet");
    }
    if verdicts.is_empty() {
        return Health::new(
            State::Healthy,
            "ProxyReady",
            "the proxy serves; the group has no probe",
        );
    }
    Health::new(
        State::Healthy,
        "ProbeSucceeded",
        "every probe passes and the proxy serves",
    )
}

/// Takes a new answer when it differs in more than its words, and logs it.
fn publish(held: &mut Health, next: Health) -> bool {
    if held.state == next.state && held.reason == next.reason {
        return false;
    }
    match next.state {
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

/// Runs one probe for ever; tells the first result and each change of the verdict.
async fn run(index: usize, probe: Probe, results: mpsc::Sender<(usize, Verdict)>) {
    sleep(probe.initial_delay).await;
    let mut threshold = Threshold::new(&probe);
    let mut ticks = interval(probe.period.max(SHORTEST_PERIOD));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let result = http::check(&probe.check, probe.timeout.max(SHORTEST_PERIOD)).await;
        let (success, got) = match result {
            Ok(got) => (true, got),
            Err(got) => (false, got),
        };
        tracing::debug!(success, %got, "probe");
        if threshold.observe(success).is_some()
            && results
                .send((
                    index,
                    Verdict {
                        healthy: Some(success),
                        got,
                    },
                ))
                .await
                .is_err()
        {
            return;
        }
    }
}

/// For `/status`.
pub fn report(health: &Health) -> Report {
    let reason = match health.reason.as_str() {
        "Draining" => "Draining",
        "ProbeFailed" => "ProbeFailed",
        "ProxyNotServing" => "ProxyNotServing",
        "ProxyReady" => "ProxyReady",
        "ProbeSucceeded" => "ProbeSucceeded",
        _ => "Starting",
    };
    let state = match health.state {
        State::Healthy => status::State::Ok,
        State::Starting | State::Draining => status::State::Waiting,
        State::Unhealthy => status::State::Failed,
    };
    Report::new(state, reason, health.message.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(healthy: Option<bool>) -> Verdict {
        Verdict {
            healthy,
            got: "GET http://127.0.0.1:80/ready: 503".to_owned(),
        }
    }

    #[test]
    fn ready_needs_every_probe_and_the_proxy() {
        let state = |serving, verdicts: &[Verdict]| combine(false, serving, Some(verdicts)).state;
        assert_eq!(state(true, &[verdict(Some(true))]), State::Healthy);
        assert_eq!(state(true, &[]), State::Healthy);
        assert_eq!(state(false, &[verdict(Some(true))]), State::Starting);
        assert_eq!(
            state(true, &[verdict(Some(true)), verdict(None)]),
            State::Starting
        );
        assert_eq!(
            state(true, &[verdict(Some(true)), verdict(Some(false))]),
            State::Unhealthy
        );
        assert_eq!(
            combine(true, true, Some(&[verdict(Some(true))])).state,
            State::Draining
        );
        assert_eq!(combine(false, true, None).state, State::Starting);
    }

    #[test]
    fn a_failed_probe_says_what_it_got_and_only_transitions_travel() {
        let mut held = combine(false, true, Some(&[verdict(Some(false))]));
        assert!(held.message.contains("503"), "{}", held.message);
        let mut again = held.clone();
        again.message = "GET http://127.0.0.1:80/ready: 500".to_owned();
        assert!(!publish(&mut held, again));
        assert!(publish(
            &mut held,
            combine(false, true, Some(&[verdict(Some(true))]))
        ));
    }
}
