//! Sends what [`Follow`] decides over a gRPC stream that stays open.

use std::collections::VecDeque;
use std::future;
use std::sync::Arc;

use futures::stream::{self, BoxStream, StreamExt as _};
use tokio::sync::watch;
use tonic::Status;

use super::answer::Question;
use super::asked::{Asked, Told};
use super::check::Checked as _;
use super::follow::{Follow, Step};
use crate::view::View;

/// The body of a streaming answer.
pub(super) type Messages<M> = BoxStream<'static, Result<M, Status>>;

/// Answers `question` from each view, first the whole state and then what changes.
///
/// The stream ends only with `NotFound` as its first word; otherwise the caller ends it. It stays open when the view's
/// owner is gone, too: then the process is going down and closes its connections, and a stream that ends by itself
/// would have its proxy ask again without a pause.
pub(super) fn answers<Q: Question>(
    mut views: watch::Receiver<Arc<View>>,
    question: Q,
    asked: Asked,
) -> Messages<Q::Message> {
    views.mark_changed();
    let start = Open {
        views,
        follow: Follow::new(question),
        ready: VecDeque::new(),
        asked,
    };
    stream::unfold(Some(start), |open| async {
        let mut open = open?;
        match open.next().await {
            Ok(message) => Some((Ok(message), Some(open))),
            Err(status) => Some((Err(status), None)),
        }
    })
    .boxed()
}

/// The first message of [`answers`], for the unary calls; waits as long as a stream would be silent.
pub(super) async fn first<Q: Question>(
    views: watch::Receiver<Arc<View>>,
    question: Q,
    asked: Asked,
) -> Result<Q::Message, Status> {
    let gone = || Err(Status::unavailable("the control plane is going down"));
    answers(views, question, asked)
        .next()
        .await
        .unwrap_or_else(gone)
}

struct Open<Q: Question> {
    views: watch::Receiver<Arc<View>>,
    follow: Follow<Q>,
    /// Messages of the last step that were not sent yet; at most those of one change.
    ready: VecDeque<Q::Message>,
    asked: Asked,
}

// === impl Open ===

impl<Q: Question> Open<Q> {
    async fn next(&mut self) -> Result<Q::Message, Status> {
        loop {
            if let Some(message) = self.ready.pop_front() {
                debug_assert_eq!(message.faults(), Vec::<String>::new(), "{message:?}");
                self.asked.told(Told::Answer);
                return Ok(message);
            }
            if self.views.changed().await.is_err() {
                future::pending::<()>().await;
            }
            let view = Arc::clone(&self.views.borrow_and_update());
            match self.follow.see(&view) {
                Step::Say(messages) => self.ready.extend(messages),
                Step::Refuse(why) => {
                    self.asked.told(Told::Unknown);
                    return Err(Status::not_found(why));
                }
            }
        }
    }
}
