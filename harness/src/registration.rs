//! The session with autoregistration: who we are, in which group, how healthy; and what it assigns to us.
//!
//! [`supervise`] owns the state and the assignment. One stream at a time lasts as long as the membership; when it ends,
//! another is opened after a jittered wait. One that is only to be renewed goes on until the VM is a member on the next.
//! The last assignment is kept on disk, so that a VM boots while the controller is away. Protocol:
//! `api/proto/registration.proto`.

pub mod address;
pub mod assignment;
mod connect;
pub mod instance;
mod messages;
mod opening;
mod refusal;
mod session;
pub mod store;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use linkerd_harness_core::assignment::Assignment;
use linkerd_harness_core::config::Config;
use linkerd_harness_core::health::Health;
use linkerd_harness_core::status;
use rand::Rng;
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::backoff::Backoff;
use crate::identity;
use crate::report::Report;
use opening::Opened;
pub use refusal::{Reason, Refusal};

/// Waits between attempts. The longest is a multiple of the window that the controller names, since a controller that was
/// restarted takes VMs that stay away longer for gone; without an assignment there is nothing to be taken for.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(15);
const WINDOWS: u32 = 4;

/// What registration needs to know. All of it changes while it runs, but for the configuration.
#[derive(Debug)]
pub struct Inputs {
    /// The group, the controller, the addresses.
    pub config: Arc<Config>,
    /// Who we are.
    pub identity: watch::Receiver<identity::State>,
    /// How healthy the workload is.
    pub health: watch::Receiver<Health>,
    /// Set once, when the daemon stops.
    pub leave: watch::Receiver<Option<LeaveMode>>,
    /// Where the last assignment is kept.
    pub store: PathBuf,
    /// Which machine this is.
    pub instance: instance::Instance,
}

/// What becomes of the workload when the daemon stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaveMode {
    /// Kept, not ready: the machine comes back.
    Reboot,
    /// Removed.
    Remove,
}

/// The session's state.
#[derive(Clone, Debug)]
pub struct State {
    /// Where it is.
    pub phase: Phase,
    /// The last health that the controller confirmed on this session.
    pub confirmed: Option<Health>,
    /// Where the controller was reached last.
    pub peer: Option<SocketAddr>,
}

/// Where the session is.
#[derive(Clone, Debug)]
pub enum Phase {
    /// There is no SVID to register with.
    WaitingForIdentity,
    /// Dialling.
    Connecting,
    /// The last attempt failed; another follows.
    Retrying(Refusal),
    /// The controller holds the stream and cannot assign yet.
    Pending(Refusal),
    /// A member of the mesh.
    Registered {
        /// `namespace/name` of the workload.
        workload: String,
        /// Which controller answered.
        controller: String,
        /// What this VM has asked for and does not get.
        warnings: Vec<String>,
    },
    /// Said goodbye.
    Left,
}

/// How a session ended.
enum End {
    Left,
    /// Another one is to be opened at once; nothing is wrong.
    Renew,
    /// We are a member on another stream now.
    Moved(Box<Opened>),
    Lost(Refusal),
}

/// What a session begins with.
enum Begin {
    /// An identity, to open a stream with.
    As(Arc<identity::Certified>),
    /// A stream on which we are a member already.
    On(Box<Opened>),
}

/// Keeps a session for as long as somebody watches, or until told to leave.
pub async fn supervise(
    mut inputs: Inputs,
    states: watch::Sender<State>,
    assignments: watch::Sender<Option<Arc<Assignment>>>,
) {
    if let Some(kept) = store::load(&inputs.store, &inputs.config.group) {
        info!(workload = %kept.workload.name, "assignment of the last run taken from disk");
        assignments.send_replace(Some(Arc::new(kept)));
    }
    let mut backoff = Backoff::new(RETRY_MIN, RETRY_MAX, 100);
    let mut said: Option<Refusal> = None;
    let mut streams = 0;
    let mut moved = None;
    loop {
        // A member says goodbye first.
        if moved.is_none() && inputs.leave.borrow().is_some() {
            break;
        }
        let begin = match moved.take() {
            Some(opened) => Begin::On(opened),
            None => match certified(&mut inputs, &states).await {
                Some(certified) => Begin::As(certified),
                None => break,
            },
        };
        // A session that is renewed stays registered meanwhile, and a failure stays on the page until it is over.
        let first = matches!(states.borrow().phase, Phase::WaitingForIdentity);
        if first {
            publish(&states, Phase::Connecting);
        }
        let attempt = session::run(&mut inputs, begin, &mut streams, &states, &assignments);
        let (registered, end) = attempt.await;
        if registered {
            backoff.reset();
            said = None;
        }
        let wait = match end {
            End::Left => break,
            End::Renew => continue,
            End::Moved(opened) => {
                moved = Some(opened);
                continue;
            }
            End::Lost(refusal) => {
                if said
                    .as_ref()
                    .is_none_or(|before| before.reason != refusal.reason)
                {
                    warn!(
                        reason = refusal.reason.as_str(),
                        "not registered: {}", refusal.message
                    );
                }
                said = Some(refusal.clone());
                let window = assignments
                    .borrow()
                    .as_ref()
                    .map(|held| held.timing.reconnect_window);
                let wait = refusal.retry_after.unwrap_or_else(|| match window {
                    Some(window) if registered => window.mul_f64(rand::rng().random()),
                    Some(window) => backoff.next_wait().min(window * WINDOWS),
                    None => backoff.next_wait(),
                });
                publish(&states, Phase::Retrying(refusal));
                wait
            }
        };
        // Only an identity that comes now is news; the one of a rotation meanwhile was used already, or will be.
        inputs.identity.mark_unchanged();
        tokio::select! {
            () = sleep(wait) => {}
            _ = inputs.leave.changed() => {}
            _ = inputs.identity.changed() => {}
        }
    }
    publish(&states, Phase::Left);
}

/// Waits for an SVID; `None` when told to leave meanwhile.
async fn certified(
    inputs: &mut Inputs,
    states: &watch::Sender<State>,
) -> Option<Arc<identity::Certified>> {
    loop {
        if let Some(certified) = inputs.identity.borrow_and_update().certified.clone() {
            return Some(certified);
        }
        publish(states, Phase::WaitingForIdentity);
        tokio::select! {
            changed = inputs.identity.changed() => changed.ok()?,
            _ = inputs.leave.changed() => return None,
        }
    }
}

fn publish(states: &watch::Sender<State>, phase: Phase) {
    states.send_modify(|state| {
        if !matches!(phase, Phase::Registered { .. }) {
            state.confirmed = None;
        }
        state.phase = phase;
    });
}

// === impl State ===

impl Default for State {
    fn default() -> Self {
        Self {
            phase: Phase::WaitingForIdentity,
            confirmed: None,
            peer: None,
        }
    }
}

impl State {
    /// For `/status`. `kept` tells whether an assignment is at hand, so that the VM is meshed without a session.
    pub fn report(&self, config: &Config, kept: bool) -> Report {
        let control = &config.control.address;
        let degraded = if kept {
            status::State::Degraded
        } else {
            status::State::Waiting
        };
        match &self.phase {
            Phase::WaitingForIdentity => Report::new(
                status::State::Waiting,
                "WaitingForIdentity",
                "registers when SPIRE has given an identity",
            ),
            Phase::Connecting => Report::new(degraded, "Connecting", format!("dialling {control}")),
            Phase::Retrying(refusal) | Phase::Pending(refusal) => {
                Report::new(degraded, refusal.reason.as_str(), refusal.message.clone())
            }
            Phase::Registered {
                workload,
                controller,
                warnings,
            } => {
                let mut message = format!("as {workload} with {controller} at {control}");
                for warning in warnings {
                    message.push_str("; warning: ");
                    message.push_str(warning);
                }
                Report::new(status::State::Ok, "Registered", message)
            }
            Phase::Left => Report::new(
                status::State::Waiting,
                "Left",
                "the harness is being stopped",
            ),
        }
    }
}
