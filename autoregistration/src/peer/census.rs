//! Who is anywhere: what the leader must know before it says of a VM that it is lost.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};

use super::PREFIX;
use super::client::Peers;
use crate::kubernetes::leader::Leadership;

/// Between two of them.
pub const PERIOD: Duration = Duration::from_secs(10);

/// Whether a replica's silence means anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It may have VMs: nothing is known without it.
    Needed,
    /// It is not in service. One that is going down may still have VMs, one that cannot start has none.
    Welcome,
}

/// What the other replicas have said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Census {
    /// When they were asked. What has happened since is not in it.
    pub at: Instant,
    /// Whether all whose answer is needed have answered. Otherwise a VM that is not in it may be anywhere.
    pub complete: bool,
    /// The first 16 bytes of the fingerprints of the VMs that have a session with another replica.
    pub present: HashSet<[u8; PREFIX]>,
    /// Those who have not answered.
    pub silent: Vec<SocketAddr>,
}

/// Asks all others while this replica leads, first when it has just become the leader. Ends when nobody listens.
pub async fn run(leadership: Leadership, peers: Peers, out: mpsc::Sender<Census>) {
    let mut told = leadership.told();
    loop {
        // An error means that who elects is gone.
        if told.wait_for(|leads| *leads).await.is_err() {
            return;
        }
        let mut ticks = tokio::time::interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while *told.borrow() {
            tokio::select! {
                _ = ticks.tick() => {}
                changed = told.changed() => if changed.is_err() { return } else { continue },
                () = out.closed() => return,
            }
            let census = peers.census().await;
            // A process that was stopped meanwhile does not know yet that another one leads.
            if leadership.holds() && out.send(census).await.is_err() {
                return;
            }
        }
    }
}
