//! What the proxy should run with: decided from identity, assignment and configuration.
//!
//! Nothing before an SVID has been seen: a proxy that starts without the agent's socket wedges and claims to be ready.
//! Once it runs, a missing identity does not stop it: it holds its own certificate and its own stream to the agent.

use std::net::IpAddr;
use std::sync::Arc;

use linkerd_harness_core::assignment::Assignment;
use linkerd_harness_core::config::Config;
use linkerd_harness_core::{proxy_env, status};
use tokio::sync::watch;
use tracing::warn;

use crate::identity;
use crate::proxy::Launch;
use crate::report::Report;

/// Run, or why not.
#[derive(Clone, Debug)]
pub enum Decision {
    /// With this.
    Run(Arc<Launch>),
    /// Not yet, or not any more.
    Hold(Report),
}

/// What the decision is made of, but for what changes.
#[derive(Debug)]
pub struct Inputs {
    /// The host's configuration.
    pub config: Arc<Config>,
    /// The proxy's user.
    pub user_id: u32,
    /// The host's name.
    pub hostname: String,
    /// Who we are.
    pub identity: watch::Receiver<identity::State>,
    /// What the mesh says.
    pub assignment: watch::Receiver<Option<Arc<Assignment>>>,
    /// Set once, when the daemon stops.
    pub stopping: watch::Receiver<bool>,
}

/// Decides anew at each change.
pub async fn decide(
    mut inputs: Inputs,
    launches: watch::Sender<Option<Arc<Launch>>>,
    decisions: watch::Sender<Decision>,
) {
    let mut spiffe_id: Option<String> = None;
    // Looked at when the proxy is about to start, not later: each container and each VIP brings an address, and another
    // environment restarts the proxy.
    let mut addresses: Option<Vec<IpAddr>> = None;
    loop {
        if let Some(certified) = &inputs.identity.borrow_and_update().certified {
            spiffe_id = Some(certified.spiffe_id.clone());
        }
        let assignment = inputs.assignment.borrow_and_update().clone();
        let decision = if *inputs.stopping.borrow_and_update() {
            hold("Stopping", "the harness is being stopped")
        } else {
            let addresses = addresses.get_or_insert_with(host_addresses);
            one(
                &inputs,
                spiffe_id.as_deref(),
                assignment.as_deref(),
                addresses,
            )
        };
        let launch = match &decision {
            Decision::Run(launch) => Some(Arc::clone(launch)),
            Decision::Hold(_) => {
                addresses = None;
                None
            }
        };
        launches.send_if_modified(|held| {
            let changed = *held != launch;
            *held = launch;
            changed
        });
        decisions.send_replace(decision);
        tokio::select! {
            changed = inputs.identity.changed() => if changed.is_err() { return },
            changed = inputs.assignment.changed() => if changed.is_err() { return },
            changed = inputs.stopping.changed() => if changed.is_err() { return },
        }
    }
}

fn one(
    inputs: &Inputs,
    spiffe_id: Option<&str>,
    assignment: Option<&Assignment>,
    addresses: &[IpAddr],
) -> Decision {
    let Some(spiffe_id) = spiffe_id else {
        return hold(
            "WaitingForIdentity",
            "starts when SPIRE has given an identity",
        );
    };
    let Some(assignment) = assignment else {
        return hold(
            "WaitingForAssignment",
            "starts when autoregistration has assigned a workload",
        );
    };
    if assignment.workload.identity != spiffe_id {
        let message = format!(
            "the assignment is for {}, SPIRE gives {spiffe_id}; waiting for autoregistration",
            assignment.workload.identity
        );
        return hold("AssignmentOfAnotherIdentity", message);
    }
    let environment = proxy_env::environment(&proxy_env::Inputs {
        config: &inputs.config,
        assignment,
        spiffe_id,
        host_addresses: addresses,
        hostname: &inputs.hostname,
    });
    match environment {
        Ok(environment) => {
            for ignored in &environment.ignored {
                warn!(name = %ignored.name, why = ?ignored.why, "setting of the mesh not taken for the proxy");
            }
            Decision::Run(Arc::new(Launch {
                environment: environment.variables,
                user_id: inputs.user_id,
                program: inputs.config.proxy.path.clone(),
            }))
        }
        Err(refused) => {
            warn!("the mesh's settings cannot be given to the proxy: {refused}");
            Decision::Hold(Report::new(
                status::State::Failed,
                "SettingsRefused",
                refused.to_string(),
            ))
        }
    }
}

fn hold(reason: &'static str, message: impl Into<String>) -> Decision {
    Decision::Hold(Report::new(status::State::Waiting, reason, message))
}

/// Addresses of this host's interfaces, which packets may carry as their original destination; link-local ones are of no
/// use to a peer.
fn host_addresses() -> Vec<IpAddr> {
    let Ok(interfaces) = nix::ifaddrs::getifaddrs() else {
        return Vec::new();
    };
    let address = |interface: nix::ifaddrs::InterfaceAddress| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|v4| IpAddr::from(v4.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::from(v6.ip())))
    };
    let link_local = |address: &IpAddr| match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    let mut found: Vec<IpAddr> = interfaces
        .filter_map(address)
        .filter(|address| !link_local(address))
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}
