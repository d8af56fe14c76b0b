//! How VMs are sent from a replica that goes down to the others. Pure.
//!
//! ```text
//! SIGTERM ─▶ not ready ── LEAVE_SERVICE ──▶ GoAway to each session, spread over SPREAD ─▶ end
//! ```
//!
//! A VM that is told `GoAway` opens a stream elsewhere before it closes the old one, so nobody is lost meanwhile. While it
//! lasts, this replica still answers its peers.

use std::time::Duration;

/// From "not ready" until no new connection comes here any more.
pub const LEAVE_SERVICE: Duration = Duration::from_secs(3);
/// Sessions are sent away over this, so that the others take them one after the other.
pub const SPREAD: Duration = Duration::from_secs(20);
/// `Hello`s a second that a replica takes.
pub const HELLOS_PER_SECOND: usize = 200;

const SHORTEST_WINDOW: Duration = Duration::from_secs(1);
const LONGEST_WINDOW: Duration = Duration::from_secs(180);

/// Over which time VMs that have lost their stream come back: as long as one replica takes for all of them.
pub fn reconnect_window(fleet: usize) -> Duration {
    let millis = fleet.saturating_mul(1000) / HELLOS_PER_SECOND;
    let window = Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX));
    window.clamp(SHORTEST_WINDOW, LONGEST_WINDOW)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_is_what_one_replica_can_take() {
        let secs = Duration::from_secs;
        assert_eq!(reconnect_window(0), secs(1));
        assert_eq!(reconnect_window(100), secs(1));
        assert_eq!(reconnect_window(4000), secs(20));
        assert_eq!(reconnect_window(usize::MAX), secs(180));
    }
}
