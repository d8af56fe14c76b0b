//! The state that `/status` serves as JSON and `harnessctl status` prints.

mod proof;

use serde::{Deserialize, Serialize};

pub use proof::{Proof, Shown};

/// The whole state on one page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Version of the daemon.
    pub version: String,
    /// `namespace/name` of the configured group.
    pub group: String,
    /// Whether the VM takes part in the mesh: every component is [`State::Ok`].
    pub meshed: bool,
    /// SPIFFE ID from SPIRE.
    pub identity: Component,
    /// Session with autoregistration.
    pub registration: Component,
    /// Linkerd's proxy.
    pub proxy: Component,
    /// Rules on this host.
    pub redirection: Component,
    /// Probes on the application, together with the proxy.
    pub health: Component,
    /// Each of the group's probes, in the group's order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub probes: Vec<Probe>,
    /// Whether the rules were seen to do their work; absent while nothing is redirected, and before the first attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<Proof>,
}

/// State of one part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Component {
    /// Coarse state.
    pub state: State,
    /// CamelCase, of a closed set for each part.
    pub reason: String,
    /// For people: what, on what, what to do about it.
    pub message: String,
    /// When `state` or `reason` last changed, RFC 3339 in UTC.
    pub since: String,
}

/// A probe of the group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// Waiting until a threshold was reached, then ok or failed.
    pub state: State,
    /// For people: what was asked of whom, and what came.
    pub message: String,
}

/// Coarse state of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Waits for something, which the reason names.
    Waiting,
    /// Does its work.
    Ok,
    /// Does its work, but something is wrong.
    Degraded,
    /// Does not do its work.
    Failed,
}

// === impl Status ===

impl Status {
    /// The parts in the order of the daemon's flow, with their names.
    pub fn components(&self) -> [(&'static str, &Component); 5] {
        [
            ("identity", &self.identity),
            ("registration", &self.registration),
            ("proxy", &self.proxy),
            ("redirection", &self.redirection),
            ("health", &self.health),
        ]
    }
}
