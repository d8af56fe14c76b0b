//! Stopping in order: who holds a [`Watch`] is told to finish, and is waited for.

use tokio::sync::{mpsc, watch};

/// The side that stops.
#[derive(Debug)]
pub(crate) struct Signal {
    stop: watch::Sender<bool>,
    held: mpsc::Receiver<()>,
}

/// The side that is stopped: a connection, a listener, a task.
#[derive(Clone, Debug)]
pub(crate) struct Watch {
    stop: watch::Receiver<bool>,
    /// Never sent on; the drain is over when the last clone is gone.
    _held: mpsc::Sender<()>,
}

pub(crate) fn channel() -> (Signal, Watch) {
    let (stop, stopped) = watch::channel(false);
    let (holder, held) = mpsc::channel(1);
    (
        Signal { stop, held },
        Watch {
            stop: stopped,
            _held: holder,
        },
    )
}

impl Signal {
    /// Tells everybody to finish and waits until all have.
    pub(crate) async fn drain(mut self) {
        self.stop.send_replace(true);
        while self.held.recv().await.is_some() {}
    }
}

impl Watch {
    /// Resolves when it is time to finish.
    pub(crate) async fn signaled(&self) {
        let mut stop = self.stop.clone();
        if stop.wait_for(|stop| *stop).await.is_err() {
            // The signal was dropped without draining: nobody will ever ask.
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_drain_waits_for_the_last_holder() {
        let (signal, watch) = channel();
        let drained = tokio::spawn(signal.drain());
        watch.signaled().await;
        tokio::task::yield_now().await;
        assert!(!drained.is_finished());
        drop(watch);
        drained.await.unwrap();
    }
}
