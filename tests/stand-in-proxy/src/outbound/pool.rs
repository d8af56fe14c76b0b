//! The endpoints of one backend, and which of them gets the next request.

use super::client::EndpointClient;
use crate::backoff::Backoff;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

/// What is known about the endpoints.
#[derive(Clone, Debug)]
pub(super) enum Members {
    /// The controller has not answered.
    Waiting,
    Are(Arc<[Arc<EndpointClient>]>),
    /// The controller refused the name.
    Refused,
}

/// Why there is no endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unready {
    /// None became ready in time.
    TimedOut,
    /// None was ready before, and none is now.
    FailFast,
    Refused,
}

#[derive(Debug)]
pub(super) struct Pool {
    members: watch::Receiver<Members>,
    /// Changes when an endpoint has connected.
    connected: Arc<watch::Sender<()>>,
    backoff: Backoff,
    next: AtomicUsize,
    failing: AtomicBool,
    /// Whoever feeds `members`.
    task: JoinHandle<()>,
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Pool {
    pub(super) fn new(
        members: watch::Receiver<Members>,
        backoff: Backoff,
        task: JoinHandle<()>,
    ) -> Self {
        let connected = Arc::new(watch::Sender::new(()));
        Self {
            members,
            connected,
            backoff,
            next: AtomicUsize::new(0),
            failing: AtomicBool::new(false),
            task,
        }
    }

    /// An endpoint for a request: one that is connected, in turn; if there is none, the first to become so.
    pub(super) async fn for_http(
        &self,
        http2: bool,
        failfast: Duration,
    ) -> Result<Arc<EndpointClient>, Unready> {
        let deadline = Instant::now() + failfast;
        let mut members = self.members.clone();
        let mut connected = self.connected.subscribe();
        loop {
            connected.borrow_and_update();
            let current = members.borrow_and_update().clone();
            match current {
                Members::Refused => return Err(Unready::Refused),
                Members::Waiting => {}
                Members::Are(endpoints) => {
                    self.drive(&endpoints, http2);
                    let ready: Vec<_> = endpoints
                        .iter()
                        .filter(|endpoint| endpoint.is_ready(http2))
                        .collect();
                    if let Some(endpoint) = self.in_turn(&ready) {
                        self.failing.store(false, Ordering::Relaxed);
                        return Ok(Arc::clone(endpoint));
                    }
                }
            }
            if self.failing.load(Ordering::Relaxed) {
                return Err(Unready::FailFast);
            }
            let change = async {
                tokio::select! {
                    changed = members.changed() => drop(changed),
                    changed = connected.changed() => drop(changed),
                }
            };
            if timeout_at(deadline, change).await.is_err() {
                self.failing.store(true, Ordering::Relaxed);
                return Err(Unready::TimedOut);
            }
        }
    }

    /// An endpoint for a stream: any, in turn; it is dialled by the stream itself.
    pub(super) async fn for_stream(
        &self,
        failfast: Duration,
    ) -> Result<Arc<EndpointClient>, Unready> {
        let mut members = self.members.clone();
        let some = members.wait_for(|members| match members {
            Members::Waiting => false,
            Members::Are(endpoints) => !endpoints.is_empty(),
            Members::Refused => true,
        });
        let Ok(Ok(found)) = timeout_at(Instant::now() + failfast, some).await else {
            return Err(Unready::TimedOut);
        };
        match &*found {
            Members::Are(endpoints) => {
                let all: Vec<_> = endpoints.iter().collect();
                self.in_turn(&all).map(Arc::clone).ok_or(Unready::TimedOut)
            }
            Members::Waiting | Members::Refused => Err(Unready::Refused),
        }
    }

    fn in_turn<'a>(
        &self,
        endpoints: &[&'a Arc<EndpointClient>],
    ) -> Option<&'a Arc<EndpointClient>> {
        let at = self.next.fetch_add(1, Ordering::Relaxed);
        endpoints.get(at % endpoints.len().max(1)).copied()
    }

    fn drive(&self, endpoints: &[Arc<EndpointClient>], http2: bool) {
        for endpoint in endpoints.iter().filter(|endpoint| endpoint.tunnels(http2)) {
            let connected = Arc::clone(&self.connected);
            endpoint.drive(self.backoff, move || {
                connected.send_replace(());
            });
        }
    }
}
