//! A VM that comes from another replica may know of an edit of its group that has not reached us: what we would tell it is
//! what it had before. It waits a moment, in which what we know nearly always catches up.

use std::time::Duration;

use super::admission::group_key;
use super::hello::Hello;
use super::session::{Stage, Wait};
use super::{Registry, Replicas, StreamId};

/// How long a VM waits for us to know what it knows. After that it gets what there is.
pub(super) const CATCHING_UP: Duration = Duration::from_secs(2);

// === impl Registry ===

impl Registry {
    /// Whether the stream has to wait for a newer edition of its group.
    pub(super) fn waits_for_edition(&mut self, stream: StreamId, hello: &Hello) -> bool {
        if self.replicas == Replicas::One || !self.is_ahead(hello) {
            return false;
        }
        let Some(session) = self.sessions.get_mut(&stream) else {
            return false;
        };
        let until = session.opened.saturating_add(CATCHING_UP);
        if until <= self.now {
            return false;
        }
        session.stage = Stage::Waiting(Wait::Edition);
        self.ahead.insert((until, stream));
        self.due_at(until);
        true
    }

    /// Whether it knows of an edition of its group that we do not know.
    pub(super) fn is_ahead(&self, hello: &Hello) -> bool {
        let group = self.manifests.groups.get(&group_key(hello));
        group.is_some_and(|group| group.edition < hello.edition)
    }

    /// Lets those go on that have waited for long enough.
    pub(super) fn sweep_ahead(&mut self) {
        while let Some((until, stream)) = self.ahead.pop_first() {
            if until > self.now {
                self.ahead.insert((until, stream));
                return;
            }
            let session = self.sessions.get(&stream);
            if session.is_some_and(|it| it.stage == Stage::Waiting(Wait::Edition)) {
                self.admit(stream);
            }
        }
    }
}
