//! Waits for a packet filter that works. A host that lacks one gets it by an operator's hand, and the daemon says what is
//! missing until then: on its page, and in the log. Were it to end instead, systemd would start it over and over, and
//! `harnessctl status` would find nobody to ask.

use std::path::Path;
use std::time::Duration;

use linkerd_harness_core::config::Mode;
use linkerd_harness_core::redirect::backend::Choice;
use tokio::time::sleep;
use tracing::{debug, error, info, warn};

use super::Host;
use super::phase::report;
use crate::backoff::Backoff;
use crate::report::Report;

/// Between two attempts.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));

/// Chooses and opens the backend, as soon as one works. `say` hears why none does.
pub async fn open_patiently(mode: Mode, run_dir: &Path, say: impl Fn(Report)) -> (Host, Choice) {
    let mut backoff = Backoff::new(RETRY.0, RETRY.1, 10);
    let mut failures = 0;
    loop {
        match Host::open(mode, run_dir).await {
            Ok((firewall, choice)) => {
                info!(backend = %choice.backend, why = choice.because, "firewall backend chosen");
                if let Some(warning) = choice.warning {
                    warn!("{warning}");
                }
                return (firewall, choice);
            }
            Err(problem) => {
                let report = report::no_backend(&problem);
                failures += 1;
                if failures == 1 {
                    error!(error = %report.message, "cannot redirect: trying again until it can");
                } else {
                    debug!(error = %report.message, failures, "still cannot redirect");
                }
                say(report);
            }
        }
        sleep(backoff.next_wait()).await;
    }
}
