//! Whether this host's traffic goes through the proxy now, and which.
//!
//! `FailurePolicy: open`: rules only while the proxy serves. While it does not reach the policy API, without which every
//! new outbound connection hangs in it, only inbound traffic is redirected. `closed`: all of it, whatever the proxy does,
//! until the daemon is stopped.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use linkerd_harness_core::config::{Config, FailurePolicy};
use linkerd_harness_core::redirect::{GuardRail, Plan, ProxyPorts};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use crate::proxy;

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
    /// What is left alone on this host.
    pub rails: watch::Receiver<BTreeSet<GuardRail>>,
    /// What the proxy does.
    pub proxy: watch::Receiver<proxy::State>,
    /// Set once, when the daemon stops.
    pub stopping: watch::Receiver<bool>,
}

/// Decides anew at each change. `intended` is what is redirected whenever anything is, for people to look at.
pub async fn decide(
    mut inputs: Inputs,
    intended: watch::Sender<Arc<Plan>>,
    plans: watch::Sender<Option<Arc<Plan>>>,
) {
    let mut away_since: Option<Instant> = None;
    let policy = inputs.config.redirect.failure_policy;
    let mut held = Extent::Nothing;
    let mut served = false;
    loop {
        let state = inputs.proxy.borrow_and_update().clone();
        away_since = if state.serves() && !state.serves_outbound() {
            away_since.or_else(|| Some(Instant::now()))
        } else {
            None
        };
        let stopping = *inputs.stopping.borrow_and_update();
        let grace_over = away_since.is_some_and(|since| since.elapsed() >= CONTROL_PLANE_GRACE);
        let next = match policy {
            FailurePolicy::Open => extent(stopping, held, &state, grace_over),
            FailurePolicy::Closed if stopping => Extent::Nothing,
            FailurePolicy::Closed => Extent::Both,
        };
        let rails = inputs.rails.borrow_and_update().clone();
        let all = plan(&inputs.config, inputs.user_id, &rails);
        intended.send_replace(Arc::new(all.clone()));
        let plan = match next {
            Extent::Nothing => None,
            Extent::Inbound => Some(Arc::new(all.inbound_only())),
            Extent::Both => Some(Arc::new(all)),
        };
        match policy {
            FailurePolicy::Open if next != held => say(held, next, stopping),
            FailurePolicy::Closed if state.serves() != served => say_closed(served, stopping),
            _ => {}
        }
        (held, served) = (next, state.serves());
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
            changed = inputs.rails.changed() => if changed.is_err() { return },
            changed = inputs.stopping.changed() => if changed.is_err() { return },
            () = grace => {}
        }
    }
}

/// How much is redirected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Extent {
    Nothing,
    /// What comes in: the proxy serves it on the last policy that it has.
    Inbound,
    Both,
}

fn extent(stopping: bool, held: Extent, proxy: &proxy::State, grace_over: bool) -> Extent {
    if stopping || !proxy.serves() {
        Extent::Nothing
    } else if proxy.serves_outbound() {
        Extent::Both
    } else if grace_over {
        Extent::Inbound
    } else {
        held
    }
}

fn say(held: Extent, next: Extent, stopping: bool) {
    match next {
        Extent::Both => info!("the proxy serves: redirecting"),
        Extent::Nothing if stopping => {}
        Extent::Nothing => warn!(
            "the proxy cannot serve: redirection withdrawn, this host's traffic is not meshed until it can"
        ),
        Extent::Inbound if held == Extent::Both => warn!(
            "the mesh's policy API is away: outbound traffic is not redirected and not meshed until it is back"
        ),
        Extent::Inbound => {
            warn!("the mesh's policy API is away: only inbound traffic is redirected");
        }
    }
}

fn say_closed(served: bool, stopping: bool) {
    match served {
        false => info!("the proxy serves: new connections get through"),
        true if stopping => {}
        true => warn!(
            "the proxy cannot serve: new connections are refused until it can (FailurePolicy closed)"
        ),
    }
}

/// What is redirected when anything is.
pub fn plan(config: &Config, user_id: u32, rails: &BTreeSet<GuardRail>) -> Plan {
    let ports = ProxyPorts::of(config);
    Plan::new(&config.redirect, ports, user_id, rails.iter().cloned())
}

/// What is redirected before anything was decided: where the host is closed, what it is closed with.
pub fn at_start(plan: Plan) -> Option<Arc<Plan>> {
    plan.is_held().then(|| Arc::new(plan))
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
    fn a_closed_host_is_redirected_before_anything_is_decided_and_an_open_one_is_not() {
        let mut config = Config::parse(
            r#"{"WorkloadGroup": {"Name": "a", "Namespace": "b"}, "Control": {"Address": "c:1", "ServerId": "c"}}"#,
        )
        .unwrap();
        assert_eq!(at_start(plan(&config, 1, &BTreeSet::new())), None);
        config.redirect.failure_policy = FailurePolicy::Closed;
        assert!(at_start(plan(&config, 1, &BTreeSet::new())).is_some());
    }

    #[test]
    fn a_host_is_redirected_only_as_far_as_the_proxy_can_serve_it() {
        let next = |held, state: &proxy::State, grace_over| extent(false, held, state, grace_over);
        let stopped = proxy::State::Stopped;
        assert_eq!(next(Extent::Nothing, &stopped, false), Extent::Nothing);
        assert_eq!(next(Extent::Both, &stopped, false), Extent::Nothing);
        assert_eq!(next(Extent::Nothing, &serving(true), false), Extent::Both);
        // Without the policy API outbound connections hang; inbound ones are served.
        assert_eq!(
            next(Extent::Nothing, &serving(false), false),
            Extent::Nothing
        );
        assert_eq!(
            next(Extent::Nothing, &serving(false), true),
            Extent::Inbound
        );
        assert_eq!(next(Extent::Both, &serving(false), true), Extent::Inbound);
        // A short absence is bridged.
        assert_eq!(next(Extent::Both, &serving(false), false), Extent::Both);
        assert_eq!(next(Extent::Inbound, &serving(true), false), Extent::Both);
        assert_eq!(
            extent(true, Extent::Both, &serving(true), false),
            Extent::Nothing
        );
    }
}
