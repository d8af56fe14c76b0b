//! What a component says of itself, for `/status`, the log and systemd.

use linkerd_harness_core::status::State;

/// One component's state in words. `reason` is CamelCase and of a closed set for each component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Coarse state.
    pub state: State,
    /// Which of the component's reasons.
    pub reason: &'static str,
    /// For people: what, on what, what to do about it.
    pub message: String,
}

impl Report {
    /// A report; the message may be empty.
    pub fn new(state: State, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            state,
            reason,
            message: message.into(),
        }
    }
}
