//! From a sequence of views to the messages of one stream, without any I/O.

use std::sync::Arc;

use super::answer::{Answer, Question};
use crate::view::View;

/// One stream: its question and the view that its last message spoke of.
///
/// Answers are not kept: they grow with the mesh, a view is shared by all streams.
#[derive(Debug)]
pub(super) struct Follow<Q> {
    question: Q,
    told: Option<Arc<View>>,
}

/// What a stream does about a new view.
#[derive(Debug, PartialEq)]
pub(super) enum Step<M> {
    /// Sends these, possibly none, and stays open.
    Say(Vec<M>),
    /// Ends with `NotFound` and this reason; only ever before the first message.
    Refuse(&'static str),
}

// === impl Follow ===

impl<Q: Question> Follow<Q> {
    pub(super) fn new(question: Q) -> Self {
        Self {
            question,
            told: None,
        }
    }

    /// Takes `now` in.
    pub(super) fn see(&mut self, now: &Arc<View>) -> Step<Q::Message> {
        let state = match (self.question.answer(now), &self.told) {
            (Answer::Give(state), _) | (Answer::Change(state), Some(_)) => state,
            (Answer::Unknown(why), None) => return Step::Refuse(why),
            // After a message there is no way back to "unknown": a proxy whose stream ends keeps the last answer and
            // either asks again at once, for ever, or never asks again. Silence has the first effect without the storm.
            (Answer::Unknown(_), Some(_)) | (Answer::Hold | Answer::Change(_), _) => {
                return Step::Say(Vec::new());
            }
        };
        let before = self
            .told
            .replace(Arc::clone(now))
            .and_then(|told| self.question.answer(&told).state());
        if before.as_ref() == Some(&state) {
            return Step::Say(Vec::new());
        }
        Step::Say(Q::messages(before, state))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::profile::Profile;
    use crate::mesh::target::Target;
    use crate::mesh::testing::{MEMBER_IP, mesh};

    fn profile_of_member() -> Follow<Profile> {
        Follow::new(Profile(Target::parse(&format!("{MEMBER_IP}:80")).unwrap()))
    }

    fn count<M>(step: &Step<M>) -> usize {
        match step {
            Step::Say(messages) => messages.len(),
            Step::Refuse(why) => panic!("refused: {why}"),
        }
    }

    #[test]
    fn a_view_that_changes_nothing_sends_nothing() {
        let mut stream = profile_of_member();
        let view = mesh();
        assert_eq!(count(&stream.see(&Arc::new(view.clone()))), 1);
        let mut other = view;
        other.members.values_mut().for_each(|m| m.ready = !m.ready);
        assert_eq!(count(&stream.see(&Arc::new(other))), 0);
    }

    #[test]
    fn a_held_stream_speaks_once_the_state_is_restored() {
        let mut stream = profile_of_member();
        let mut view = mesh();
        view.restored = false;
        view.members.clear();
        assert_eq!(count(&stream.see(&Arc::new(view.clone()))), 0);
        view.restored = true;
        assert_eq!(count(&stream.see(&Arc::new(view))), 1);
    }

    #[test]
    fn nothing_is_refused_after_a_message() {
        let question = crate::mesh::outbound::Outbound(
            Target::parse(&format!("{}:80", crate::mesh::testing::SERVICE_IP)).unwrap(),
        );
        let mut stream = Follow::new(question);
        let mut view = mesh();
        assert_eq!(count(&stream.see(&Arc::new(view.clone()))), 1);
        view.services.clear();
        assert_eq!(count(&stream.see(&Arc::new(view))), 0);
    }
}
