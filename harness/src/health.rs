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
use crate::redirection::{Phase, Redirection};
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
    mut rules: watch::Receiver<Redirection>,
    mut draining: watch::Receiver<bool>,
    healths: watch::Sender<Health>,
) {
    let mut probes: Option<Vec<Probe>> = None;
    // Once: peers may send to the application's own port, and before the first rule that is the application itself.
    let mut redirected = false;
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
        redirected |= rules.borrow_and_update().phase == Phase::Applied;
        let served = match (proxy.borrow_and_update().serves(), redirected) {
            (false, _) => Served::No,
            (true, false) => Served::NotRedirected,
            (true, true) => Served::Yes,
        };
        let draining_now = *draining.borrow_and_update();
        let verdicts_now = probes.as_ref().map(|_| verdicts.as_slice());
        let was_healthy = healths.borrow().state == State::Healthy;
        let next = combine(draining_now, served, verdicts_now, was_healthy);
        healths.send_if_modified(|held| publish(held, next));
        tokio::select! {
            changed = assignments.changed() => if changed.is_err() { return },
            changed = proxy.changed() => if changed.is_err() { return },
            changed = rules.changed() => if changed.is_err() { return },
            changed = draining.changed() => if changed.is_err() { return },
            Some((index, verdict)) = news.recv() => {
                if let Some(held) = verdicts.get_mut::<usize>(index) {
                    *held = verdict;
                }
            }
        }
    }
}

/// Whether the proxy serves the workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Served {
    No,
    /// It would, but nothing was ever redirected to it.
    NotRedirected,
    Yes,
}

/// The answer; `verdicts` is `None` while there is no assignment. Probes that were just changed have no verdict yet: that
/// does not take a healthy workload out, or each edit of a group would take out all of its workloads at once.
fn combine(
    draining: bool,
    served: Served,
    verdicts: Option<&[Verdict]>,
    was_healthy: bool,
) -> Health {
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
    match served {
        Served::No => {
            return Health::new(
                State::Starting,
                "ProxyNotServing",
                "the proxy does not serve yet",
            );
        }
        Served::NotRedirected => {
            return Health::new(State::Starting, "NotRedirected", "no rule was applied yet");
        }
        Served::Yes => {}
    }
    if verdicts.iter().any(|verdict| verdict.healthy.is_none()) && !was_healthy {
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
    let state = match health.state {
        State::Healthy => status::State::Ok,
        State::Starting | State::Draining => status::State::Waiting,
        State::Unhealthy => status::State::Failed,
    };
    Report::new(state, health.reason, health.message.clone())
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
    fn ready_needs_every_probe_the_proxy_and_the_first_rule() {
        let state =
            |served, verdicts: &[Verdict]| combine(false, served, Some(verdicts), false).state;
        let passes = [verdict(Some(true))];
        assert_eq!(state(Served::Yes, &passes), State::Healthy);
        assert_eq!(state(Served::Yes, &[]), State::Healthy);
        assert_eq!(state(Served::No, &passes), State::Starting);
        assert_eq!(state(Served::NotRedirected, &passes), State::Starting);
        assert_eq!(
            state(Served::Yes, &[verdict(Some(true)), verdict(None)]),
            State::Starting
        );
        assert_eq!(
            state(Served::Yes, &[verdict(Some(true)), verdict(Some(false))]),
            State::Unhealthy
        );
        assert_eq!(
            combine(true, Served::Yes, Some(&passes), true).state,
            State::Draining
        );
        assert_eq!(
            combine(false, Served::Yes, None, true).state,
            State::Starting
        );
    }

    #[test]
    fn new_probes_without_a_verdict_do_not_take_out_a_healthy_workload() {
        let undecided = [verdict(None)];
        assert_eq!(
            combine(false, Served::Yes, Some(&undecided), true).state,
            State::Healthy
        );
        let failed = [verdict(Some(false))];
        assert_eq!(
            combine(false, Served::Yes, Some(&failed), true).state,
            State::Unhealthy
        );
    }

    #[test]
    fn a_failed_probe_says_what_it_got_and_only_transitions_travel() {
        let answer = |passed| combine(false, Served::Yes, Some(&[verdict(Some(passed))]), false);
        let mut held = answer(false);
        assert!(held.message.contains("503"), "{}", held.message);
        let mut again = held.clone();
        again.message = "GET http://127.0.0.1:80/ready: 500".to_owned();
        assert!(!publish(&mut held, again));
        assert!(publish(&mut held, answer(true)));
    }
}
