//! Whether this host's traffic goes through the proxy now, and which.
//!
//! `FailurePolicy: open`: rules only while the proxy serves, and reaches the policy API, without which every new outbound
//! connection would hang in it. `closed`: rules from the start until a clean stop.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use linkerd_harness_core::config::{Config, FailurePolicy};
use linkerd_harness_core::redirect::{GuardRail, Plan, ProxyPorts};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use crate::{proxy, registration};

/// How long the control plane may be unreached before the host gets its network back. Connections of the last seconds go
/// on without it, and a control plane that restarts is back sooner.
const CONTROL_PLANE_GRACE: Duration = Duration::from_secs(10);

/// What the decision is made of.
#[derive(Debug)]
pub struct Inputs {
    /// The host's configuration.
    pub config: Arc<Config>,
    /// The proxy's user.
    pub user_id: u32,
    /// Exemptions found on this host before anything is redirected.
    pub guard_rails: Vec<GuardRail>,
    /// What the proxy does.
    pub proxy: watch::Receiver<proxy::State>,
    /// The session with autoregistration, whose address is left alone.
    pub registration: watch::Receiver<registration::State>,
    /// Set once, when the daemon stops.
    pub stopping: watch::Receiver<bool>,
}

/// Decides anew at each change.
pub async fn decide(mut inputs: Inputs, plans: watch::Sender<Option<Arc<Plan>>>) {
    let mut away_since: Option<Instant> = None;
    loop {
        let state = inputs.proxy.borrow_and_update().clone();
        away_since = if state.serves() && !state.serves_outbound() {
            away_since.or_else(|| Some(Instant::now()))
        } else {
            None
        };
        let stopping = *inputs.stopping.borrow_and_update();
        let held = plans.borrow().is_some();
        let grace_over = away_since.is_some_and(|since| since.elapsed() >= CONTROL_PLANE_GRACE);
        let wanted = wanted(
            inputs.config.redirect.failure_policy,
            stopping,
            held,
            &state,
            grace_over,
        );
        let controller = inputs.registration.borrow_and_update().peer;
        let plan = wanted.then(|| {
            Arc::new(plan(
                &inputs.config,
                inputs.user_id,
                &inputs.guard_rails,
                controller,
            ))
        });
        if held && !wanted && !stopping {
            if grace_over {
                warn!(
                    "the mesh's policy API is away: redirection withdrawn, this host's traffic is not meshed until it is back"
                );
            } else {
                warn!(
                    "the proxy cannot serve: redirection withdrawn, this host's traffic is not meshed until it can"
                );
            }
        } else if !held && wanted {
            info!("the proxy serves: redirecting");
        }
        plans.send_if_modified(|held| {
            let changed = *held != plan;
            *held = plan;
            changed
        });
        let grace = async {
            match away_since.filter(|_| !grace_over) {
                Some(since) => sleep_until(since + CONTROL_PLANE_GRACE).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = inputs.proxy.changed() => if changed.is_err() { return },
            changed = inputs.registration.changed() => if changed.is_err() { return },
            changed = inputs.stopping.changed() => if changed.is_err() { return },
            () = grace => {}
        }
    }
}

fn wanted(
    policy: FailurePolicy,
    stopping: bool,
    held: bool,
    proxy: &proxy::State,
    grace_over: bool,
) -> bool {
    match (stopping, policy) {
        (true, _) => false,
        (false, FailurePolicy::Closed) => true,
        (false, FailurePolicy::Open) if held => proxy.serves() && !grace_over,
        (false, FailurePolicy::Open) => proxy.serves_outbound(),
    }
}

/// What is redirected when anything is. `controller` is where autoregistration was reached last.
pub fn plan(
    config: &Config,
    user_id: u32,
    found: &[GuardRail],
    controller: Option<SocketAddr>,
) -> Plan {
    let found = found
        .iter()
        .cloned()
        .chain(controller.map(GuardRail::ControlPlane));
    Plan::new(&config.redirect, ProxyPorts::of(config), user_id, found)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    fn serving(control_plane: bool) -> proxy::State {
        proxy::State::Serving {
            pid: 1,
            since: SystemTime::UNIX_EPOCH,
            control_plane,
            unseen: false,
            version: None,
        }
    }

    #[test]
    fn an_open_host_is_redirected_only_while_the_proxy_can_serve_it() {
        let open = |held, state: &proxy::State, grace_over| {
            wanted(FailurePolicy::Open, false, held, state, grace_over)
        };
        assert!(!open(false, &proxy::State::Stopped, false));
        assert!(
            !open(false, &serving(false), false),
            "without the policy API outbound connections hang"
        );
        assert!(open(false, &serving(true), false));
        assert!(
            open(true, &serving(false), false),
            "a short absence is bridged"
        );
        assert!(!open(true, &serving(false), true));
        assert!(!open(true, &proxy::State::Stopped, false));
    }

    #[test]
    fn a_closed_host_is_redirected_until_a_clean_stop() {
        let closed = |stopping| {
            wanted(
                FailurePolicy::Closed,
                stopping,
                false,
                &proxy::State::Stopped,
                false,
            )
        };
        assert!(closed(false));
        assert!(!closed(true));
    }
}
