//! What a view says to a question.

use super::check::Checked;
use crate::view::View;

/// What a view says to a question.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Answer<T> {
    /// Nothing: anything that could be said now might be wrong in a way that costs the caller its encryption. The
    /// stream stays open and silent; a proxy keeps what it knew, or waits.
    Hold,
    /// This.
    Give(T),
    /// This, if it changes what the stream said before; a new stream hears nothing, as for [`Answer::Hold`].
    Change(T),
    /// The question is about nothing that is known: `NotFound`, with the reason. Can only be a stream's first word.
    Unknown(&'static str),
}

/// A question that a stream goes on answering.
pub(super) trait Question: Send + 'static {
    /// The whole of an answer.
    type State: PartialEq;
    /// What travels.
    type Message: Checked + Send + 'static;

    /// What `view` says. A pure function: streams remember the view that they spoke of and not what they said.
    fn answer(&self, view: &View) -> Answer<Self::State>;

    /// The messages that take a proxy from `before` to `now`, which differ; `None` is a stream that said nothing yet.
    fn messages(before: Option<Self::State>, now: Self::State) -> Vec<Self::Message>;
}

// === impl Answer ===

impl<T> Answer<T> {
    /// The state, whether or not it is for new streams.
    pub(super) fn state(self) -> Option<T> {
        match self {
            Self::Give(state) | Self::Change(state) => Some(state),
            Self::Hold | Self::Unknown(_) => None,
        }
    }
}
