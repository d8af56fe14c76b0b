//! The order of stopping, so that nobody's request is refused meanwhile:
//!
//! draining is confirmed by the controller -> peers have taken us out -> rules removed, so that new connections no longer
//! meet the proxy -> the proxy ends what is open -> goodbye to the controller.

use std::path::Path;
use std::time::Duration;

use linkerd_harness_core::health::State as HealthState;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tracing::warn;

use crate::board::Watched;
use crate::proxy;
use crate::redirection::{self, Phase as RulesPhase, Redirection};
use crate::registration::{LeaveMode, Phase};
use crate::systemd;

/// For the controller to confirm that we drain.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(5);

/// From the controller's word to the last peer's balancer: measured below 0.1 s standalone, up to 1 s in a cluster.
const PROPAGATION: Duration = Duration::from_secs(1);

/// For the rules to go. `cleanup` after the daemon's end takes what is left.
const REMOVE_TIMEOUT: Duration = Duration::from_secs(15);

/// Beyond the proxy's own grace period.
const PROXY_MARGIN: Duration = Duration::from_secs(5);

/// For the controller to take our goodbye.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(3);

/// What the components are told when the daemon stops.
#[derive(Debug)]
pub(crate) struct Orders {
    pub(crate) drain: watch::Sender<bool>,
    pub(crate) stop_redirecting: watch::Sender<bool>,
    pub(crate) stop_proxy: watch::Sender<bool>,
    pub(crate) leave: watch::Sender<Option<LeaveMode>>,
}

impl Default for Orders {
    fn default() -> Self {
        let order = || watch::Sender::new(false);
        Self {
            drain: order(),
            stop_redirecting: order(),
            stop_proxy: order(),
            leave: watch::Sender::new(None),
        }
    }
}

/// Stops everything, in order. Each step is bounded: a controller that is away does not keep a host from stopping.
pub(crate) async fn in_order(
    orders: &Orders,
    mut watched: Watched,
    mut rules: watch::Receiver<Redirection>,
    runtime: &Path,
) {
    orders.drain.send_replace(true);
    let mode = if systemd::service_stops().await {
        LeaveMode::Remove
    } else {
        LeaveMode::Reboot
    };
    if matches!(
        watched.registration.borrow().phase,
        Phase::Registered { .. }
    ) {
        let confirmed = watched.registration.wait_for(|state| {
            let draining = state
                .confirmed
                .as_ref()
                .is_some_and(|health| health.state == HealthState::Draining);
            draining || !matches!(state.phase, Phase::Registered { .. })
        });
        if timeout(CONFIRM_TIMEOUT, confirmed).await.is_ok() {
            sleep(PROPAGATION).await;
        } else {
            warn!("the controller did not confirm that we drain; stopping anyway");
        }
    }
    orders.stop_redirecting.send_replace(true);
    let removed = rules.wait_for(|rules| rules.phase == RulesPhase::Removed);
    if timeout(REMOVE_TIMEOUT, removed).await.is_err() {
        warn!("the rules could not be removed; `linkerd-proxy-harness cleanup` will try again");
    }
    orders.stop_proxy.send_replace(true);
    let grace = watched.config.proxy.shutdown_grace + PROXY_MARGIN;
    let stopped = watched
        .proxy
        .wait_for(|state| matches!(state, proxy::State::Stopped));
    if timeout(grace, stopped).await.is_err() {
        warn!("the proxy did not stop in time");
    }
    // What kept open connections going is no longer needed. Root's `cleanup` after us takes what we may not.
    if let Err(errors) = redirection::cleanup(runtime).await {
        warn!("rules are left behind, `linkerd-proxy-harness cleanup` takes them: {errors}");
    }
    orders.leave.send_replace(Some(mode));
    let left = watched
        .registration
        .wait_for(|state| matches!(state.phase, Phase::Left));
    if timeout(LEAVE_TIMEOUT, left).await.is_err() {
        warn!("the controller did not take our goodbye in time");
    }
}
