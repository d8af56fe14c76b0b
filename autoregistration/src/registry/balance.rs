//! A replica that has much more than its share sends sessions to the others.

use tracing::info;

use super::name::Fingerprint;
use super::session::{Session, Stage};
use super::{Registry, StreamId};
use crate::balance::{self, Loads};

/// As it is told to the harness, and counted.
const REBALANCE: &str = "REBALANCE";

// === impl Registry ===

impl Registry {
    /// Those that have been here for longest go first. Nobody is asked in place of one that was asked and is still here: it
    /// goes as soon as another replica takes it. One that does not in all that time has not understood, and is asked again.
    pub(super) fn take_loads(&mut self, loads: &Loads) {
        if self.departing {
            return;
        }
        let surplus = balance::surplus(self.sessions.len(), &loads.peers);
        if surplus == 0 {
            return;
        }
        let sessions = self.sessions.values();
        let going = sessions.filter(|session| session.sent_away && !self.is_old(session, loads));
        let more = surplus.saturating_sub(going.count());
        let old = self
            .sessions
            .iter()
            .filter(|(_, session)| matches!(session.stage, Stage::Joined(_)))
            .filter(|(_, session)| self.is_old(session, loads))
            .map(|(stream, _)| *stream)
            .take(more.min(loads.pace.at_once))
            .collect::<Vec<StreamId>>();
        if old.is_empty() {
            return;
        }
        info!(
            sessions = self.sessions.len(),
            of_others = ?loads.peers,
            sent_away = old.len(),
            "this replica has more sessions than the others, some are sent to them"
        );
        for stream in old {
            self.send_away(stream, REBALANCE, loads.pace.every);
        }
    }

    fn is_old(&self, session: &Session, loads: &Loads) -> bool {
        let hello = &session.hello;
        let print = Fingerprint::new(&hello.group, &session.caller, &hello.instance_id);
        let age = self.now.saturating_sub(session.since);
        age >= loads.pace.age_of(print.draw())
    }
}
