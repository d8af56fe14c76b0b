//! What shows that rules do what they are for: connections of our own through them, and what became of each.
//!
//! [`trials`] says what to try for a plan, [`verdict`] what an attempt has shown. A trial is proven when three parts of the
//! kernel agree: the handshake is complete, the socket that took it is on the proxy's port, and connection tracking, which
//! is what the proxy asks for the original destination, names the address that was dialled.

mod trial;
mod verdict;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use trial::{NOBODY, Trial, Wish, trials};
pub use verdict::{Answer, Seen, Tracked, verdict};

/// Which way traffic goes, as this host sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// To this host.
    Inbound,
    /// From this host.
    Outbound,
}

/// What a trial has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The connection reached the proxy with its original destination.
    Proven,
    /// The connection went, or was on its way, to somewhere else.
    Failed,
    /// There is nothing to be said: it could not be tried, or something else than redirection kept it from an answer.
    Untried,
}

// === impl Direction ===

impl Direction {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Inbound, Self::Outbound];
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
        })
    }
}

// === impl Outcome ===

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Proven, Self::Failed, Self::Untried];
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Proven => "proven",
            Self::Failed => "failed",
            Self::Untried => "untried",
        })
    }
}
