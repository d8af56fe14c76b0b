//! Of two processes that say they are one VM, the one that holds its workload is asked whether it lives.

use linkerd_harness_api::v1::{self, controller_message::Kind};

use super::claims::{Claimed, duplicate, superseded};
use super::hello::Hello;
use super::session::{Session, Stage, Wait};
use super::workload::Workload;
use super::{CHALLENGE, OUR_QUESTION, Registry, StreamId};
use crate::store::Key;

// === impl Registry ===

impl Registry {
    /// Whether the stream may be the workload. If not, it was refused, or it waits for the answer of the one that is.
    pub(super) fn take_over(&mut self, stream: StreamId, key: &Key, hello: &Hello) -> bool {
        let holder = self
            .workloads
            .get(key)
            .and_then(Workload::stream)
            .filter(|holder| *holder != stream);
        let Some((holder, session)) = holder.and_then(|id| Some((id, self.sessions.get(&id)?)))
        else {
            return true;
        };
        if session.hello.session_id == hello.session_id {
            // The same process: its newest stream counts, in whatever order they reach us. Either shows that the
            // process lives.
            let newer = hello.stream_seq >= session.hello.stream_seq;
            self.refuse_challengers_of(holder);
            self.end(if newer { holder } else { stream }, Some(superseded()));
            return newer;
        }
        let until = self.now.saturating_add(CHALLENGE);
        self.wait(stream, Wait::Answer { holder, until });
        self.challenged.insert(holder);
        self.due_at(until);
        self.send(
            holder,
            Kind::Heartbeat(v1::Heartbeat {
                seq: OUR_QUESTION | stream,
            }),
        );
        false
    }

    /// A sign of life from `holder`: those who claim to be its VM are not.
    pub(super) fn refuse_challengers_of(&mut self, holder: StreamId) {
        if !self.challenged.remove(&holder) {
            return;
        }
        self.answer_asked(holder, Claimed::Held);
        for challenger in self.challengers_of(holder) {
            self.refuse(challenger, duplicate());
        }
    }

    /// `holder` is gone: those who asked for its place may have it.
    pub(super) fn free_challengers_of(&mut self, holder: StreamId) {
        if !self.challenged.remove(&holder) {
            return;
        }
        self.answer_asked(holder, Claimed::Free);
        for challenger in self.challengers_of(holder) {
            self.admit(challenger);
        }
    }

    fn challengers_of(&self, holder: StreamId) -> Vec<StreamId> {
        let asks = |session: &Session| matches!(session.stage, Stage::Waiting(Wait::Answer { holder: h, .. }) if h == holder);
        self.sessions
            .iter()
            .filter(|(_, session)| asks(session))
            .map(|(stream, _)| *stream)
            .collect()
    }
}
