//! The handshakes that are under way: so many and not more, and when there is no room the oldest makes it. One that
//! has been there for long is of a peer that says nothing; were the newest turned away, a few hundred silent
//! connections would keep everybody out.

use std::collections::VecDeque;
use std::future::Future;

use tokio::task::AbortHandle;

/// The handshakes that are under way.
#[derive(Debug)]
pub(super) struct Handshakes {
    most: usize,
    running: VecDeque<AbortHandle>,
}

// === impl Handshakes ===

impl Handshakes {
    /// At most `most`.
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            running: VecDeque::new(),
        }
    }

    /// Runs one more; true when an older one was ended for it.
    pub(super) fn start(&mut self, handshake: impl Future<Output = ()> + Send + 'static) -> bool {
        if self.running.len() >= self.most {
            self.running.retain(|task| !task.is_finished());
        }
        let ended = (self.running.len() >= self.most)
            .then(|| self.running.pop_front())
            .flatten();
        if let Some(oldest) = &ended {
            oldest.abort();
        }
        self.running
            .push_back(tokio::spawn(handshake).abort_handle());
        ended.is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::oneshot;

    use super::*;

    /// A peer that says nothing; the receiver hears when its handshake is ended.
    fn silent() -> (impl Future<Output = ()>, oneshot::Receiver<()>) {
        let (alive, ended) = oneshot::channel::<()>();
        let handshake = async move {
            let _alive = alive;
            std::future::pending::<()>().await;
        };
        (handshake, ended)
    }

    #[tokio::test]
    async fn silent_peers_make_room_for_new_ones_the_oldest_first() {
        let mut handshakes = Handshakes::new(2);
        let (first, first_ended) = silent();
        let (second, mut second_ended) = silent();
        assert!(!handshakes.start(first));
        assert!(!handshakes.start(second));
        let (say, said) = oneshot::channel();
        assert!(handshakes.start(async move { assert_eq!(say.send(()), Ok(())) }));
        assert_eq!(said.await, Ok(()));
        let ended = tokio::time::timeout(Duration::from_secs(10), first_ended).await;
        assert!(ended.unwrap().is_err());
        assert!(
            second_ended
                .try_recv()
                .is_err_and(|error| error == oneshot::error::TryRecvError::Empty)
        );
    }

    #[tokio::test]
    async fn those_that_are_done_make_room_without_anybody_being_ended() {
        let mut handshakes = Handshakes::new(1);
        for _ in 0..3 {
            let (say, said) = oneshot::channel();
            assert!(!handshakes.start(async move { assert_eq!(say.send(()), Ok(())) }));
            said.await.unwrap();
            while !handshakes.running.iter().all(AbortHandle::is_finished) {
                tokio::task::yield_now().await;
            }
        }
    }
}
