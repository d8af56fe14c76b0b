//! `/redirect`: what is, or would be, redirected, and what the last look at the host showed.

use std::sync::Arc;
use std::time::SystemTime;

use linkerd_harness_core::redirect::Plan;
use linkerd_harness_core::redirect::backend::Choice;
use linkerd_harness_core::redirect::page::{Page, Seen};
use tokio::sync::watch;

use crate::clock::rfc3339;
use crate::redirection::{Heard, Redirection, View};

/// What it is made of.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The packet filter, once one works.
    pub backend: watch::Receiver<Option<Choice>>,
    /// What is redirected whenever anything is.
    pub intended: watch::Receiver<Arc<Plan>>,
    /// Where the rules stand, and how often they were repaired.
    pub state: watch::Receiver<Redirection>,
    /// What the last look showed.
    pub view: watch::Receiver<Option<View>>,
    /// What the kernel told of changes.
    pub heard: watch::Receiver<Heard>,
}

impl Rules {
    pub(super) fn page(&self) -> Page {
        let choice = *self.backend.borrow();
        let page = Page::of(&self.intended.borrow(), choice.as_ref());
        let live = self
            .view
            .borrow()
            .as_ref()
            .zip(choice)
            .map(|(view, choice)| {
                let age = SystemTime::now()
                    .duration_since(view.at)
                    .unwrap_or_default();
                Seen::of(
                    &view.plan,
                    choice.backend,
                    &view.look,
                    rfc3339(view.at),
                    age.as_secs(),
                )
            });
        Page { live, ..page }
    }
}
