//! Whether the workload may receive traffic, as it is reported to autoregistration.

/// One answer; only changes travel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// Coarse answer.
    pub state: State,
    /// CamelCase, of a closed set; becomes the reason of the workload's `Ready` condition.
    pub reason: &'static str,
    /// For people; at most [`MESSAGE_LIMIT`] characters.
    pub message: String,
}

/// Coarse answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// No verdict yet.
    Starting,
    /// Every probe passes and the proxy serves.
    Healthy,
    /// A probe fails or the proxy does not serve.
    Unhealthy,
    /// Being stopped: may receive nothing new.
    Draining,
}

/// Longest message, in characters.
pub const MESSAGE_LIMIT: usize = 256;

// === impl Health ===

impl Health {
    /// An answer; a longer message is cut.
    pub fn new(state: State, reason: &'static str, message: impl AsRef<str>) -> Self {
        let message = message.as_ref().chars().take(MESSAGE_LIMIT).collect();
        Self {
            state,
            reason,
            message,
        }
    }
}
