//! One probe, for as long as the group has it.

use std::time::Duration;

use linkerd_harness_core::probe::{Check, Probe, Threshold};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::combine::{Outcome, Verdict};
use super::{Programs, exec, grpc, http, tcp};

/// Shortest period and timeout, as in Kubernetes.
const SHORTEST: Duration = Duration::from_secs(1);

/// Over which the first runs of a group's probes are spread, so that the application is not asked all at once. Not longer
/// than the shortest period: each keeps its distance then.
const SPREAD: Duration = SHORTEST;

/// When each of `count` probes begins, after its own delay.
pub(super) fn spread(count: usize) -> impl Iterator<Item = Duration> {
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    (0..count).map(move |index| SPREAD * index / count)
}

/// Runs one probe, and tells what comes of it.
pub(super) async fn run(
    index: usize,
    probe: Probe,
    start: Duration,
    programs: Programs,
    results: mpsc::Sender<(usize, Verdict)>,
) {
    if matches!(probe.check, Check::Exec { .. }) && !programs.allowed {
        let verdict = Verdict {
            outcome: Outcome::NotAllowed,
            got: probe.check.to_string(),
        };
        // Nobody listens any more: then there is nobody to tell.
        results.send((index, verdict)).await.unwrap_or_default();
        return;
    }
    let asker = Asker {
        check: probe.check.clone(),
        limit: probe.timeout.max(SHORTEST),
        runner: exec::Runner::new(programs.user_id),
    };
    again_and_again(index, &probe, start, asker, results).await;
}

/// Asks in every period, never twice at once. Tells each change of the verdict, and what a failing probe gets when that is
/// news. Ends when nobody listens.
async fn again_and_again(
    index: usize,
    probe: &Probe,
    start: Duration,
    mut asker: impl Ask,
    results: mpsc::Sender<(usize, Verdict)>,
) {
    sleep(probe.initial_delay + start).await;
    let mut threshold = Threshold::new(probe);
    let mut told = String::new();
    let mut ticks = interval(probe.period.max(SHORTEST));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let (success, got) = match asker.ask().await {
            Ok(got) => (true, got),
            Err(got) => (false, got),
        };
        let got = format!("{}: {got}", probe.check);
        tracing::debug!(success, %got, "probe");
        let changed = threshold.observe(success).is_some();
        let news = !success && threshold.healthy() == Some(false) && got != told;
        if !changed && !news {
            continue;
        }
        told.clone_from(&got);
        let outcome = if success {
            Outcome::Passes
        } else {
            Outcome::Fails
        };
        let told = results.send((index, Verdict { outcome, got })).await;
        if told.is_err() {
            return;
        }
    }
}

/// Asks once. Both answers are words for people: what came. Tests play it.
trait Ask: Send {
    fn ask(&mut self) -> impl Future<Output = Result<String, String>> + Send;
}

/// Asks the application.
struct Asker {
    check: Check,
    limit: Duration,
    runner: exec::Runner,
}

// === impl Asker ===

impl Ask for Asker {
    async fn ask(&mut self) -> Result<String, String> {
        let limit = self.limit;
        match &self.check {
            Check::HttpGet {
                scheme,
                host,
                port,
                path,
                headers,
            } => {
                let request = http::Request {
                    scheme: *scheme,
                    host,
                    port: *port,
                    path,
                    headers,
                };
                http::check(&request, limit).await
            }
            Check::TcpSocket { host, port } => tcp::check(host, *port, limit).await,
            Check::Grpc { port, service } => grpc::check(*port, service, limit).await,
            Check::Exec { command } => self.runner.check(command, limit).await,
        }
    }
}

#[cfg(test)]
mod tests;
