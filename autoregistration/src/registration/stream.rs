//! One stream of a harness: its `Hello`, and what is said after it, to its end.

use std::error::Error as _;
use std::time::Duration;

use linkerd_harness_api::v1::harness_message::Kind;
use linkerd_harness_api::v1::{ControllerMessage, HarnessMessage};
use prost::Message as _;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tonic::{Status, Streaming};
use tracing::{debug, warn};

use super::bucket::{Bucket, Rate};
use super::limits::Limit;
use super::silent::Place;
use super::{Registration, status};
use crate::identity::SpiffeId;
use crate::refusal::{Reason, Refusal};
use crate::registry::StreamId;
use crate::registry::hello::{self, Hello, LARGEST_MESSAGE};
use crate::registry::task::Command;

/// A harness says `Hello` at once; one that does not is none.
pub(super) const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// What may be said on a stream, in units of [`cost`]. A harness says something twice a minute, and more while the health
/// of its workload flaps.
const MESSAGES: Rate = Rate::new(Duration::from_millis(20), 250);
/// How long one stays away who said more.
const PENALTY: Duration = Duration::from_secs(30);

/// A stream.
pub(super) struct Stream {
    pub(super) service: Registration,
    pub(super) caller: SpiffeId,
    pub(super) messages: Streaming<HarnessMessage>,
}

/// Where its answers go. Weak, since the registry ends a stream by dropping its end.
type Outbox = mpsc::WeakSender<Result<ControllerMessage, Status>>;

// === impl Stream ===

impl Stream {
    /// Serves it until it ends, or `over` says that nobody hears the answers. It has its `place` until its `Hello`.
    pub(super) async fn serve(
        mut self,
        place: Place,
        outbox: mpsc::Sender<Result<ControllerMessage, Status>>,
        mut over: oneshot::Receiver<()>,
    ) {
        let hello = tokio::select! {
            hello = self.hello() => hello,
            _ = &mut over => return,
        };
        drop(place);
        let hello = match hello {
            Ok(hello) => hello,
            Err(status) => {
                // The harness may have hung up.
                drop(outbox.try_send(Err(*status)));
                return;
            }
        };
        let stream = self.service.next_stream();
        let answers = outbox.downgrade();
        let open = Command::Open {
            stream,
            caller: self.caller.clone(),
            hello,
            outbox,
        };
        // Fails only when the registry is gone, and then the process ends.
        if self.service.registry.send(open).await.is_err() {
            return;
        }
        tokio::select! {
            () = self.forward(stream, &answers) => {}
            _ = &mut over => {}
        }
        drop(self.service.registry.send(Command::Closed { stream }).await);
    }

    /// The first message, checked.
    async fn hello(&mut self) -> Result<Box<Hello>, Box<Status>> {
        let first = match tokio::time::timeout(HELLO_TIMEOUT, self.messages.message()).await {
            Err(_elapsed) => return Err(Box::new(self.no_hello("no Hello came in 10 s"))),
            Ok(Err(status)) => return Err(Box::new(self.broken(status))),
            Ok(Ok(first)) => first.and_then(|message| message.kind),
        };
        let Some(Kind::Hello(hello)) = first else {
            return Err(Box::new(self.no_hello("the first message is not a Hello")));
        };
        // Before it is looked at, so that faulty ones count as well.
        let taken = self
            .service
            .limiter
            .take(&self.caller, Some(&hello.instance_id));
        taken.map_err(|limit| Box::new(self.service.too_much(&self.caller, limit)))?;
        let checked = hello::check(hello).map(Box::new);
        checked.map_err(|refusal| Box::new(self.refuse(&refusal)))
    }

    fn no_hello(&self, why: &str) -> Status {
        self.refuse(&Refusal::new(Reason::NoHello, why))
    }

    fn refuse(&self, refusal: &Refusal) -> Status {
        self.service.refuse(Some(&self.caller), "", refusal)
    }

    /// What a harness is told whose stream cannot be read on.
    fn broken(&self, status: Status) -> Status {
        match unreadable(&status) {
            Some(refusal) => self.refuse(&refusal),
            None => status,
        }
    }

    /// Passes on what is said.
    async fn forward(&mut self, stream: StreamId, answers: &Outbox) {
        let began = Instant::now();
        let mut budget = Bucket::default();
        loop {
            let message = match self.messages.message().await {
                Ok(Some(message)) => message,
                Ok(None) => return,
                Err(status) => {
                    debug!(stream, code = ?status.code(), error = status.message(), "stream broke");
                    if let Some(refusal) = unreadable(&status) {
                        self.end(answers, &refusal);
                    }
                    return;
                }
            };
            let size = message.encoded_len();
            if size > LARGEST_MESSAGE {
                let why = format!("a message has {size} bytes, more than {LARGEST_MESSAGE}");
                return self.end(answers, &Refusal::new(Reason::InvalidMessage, why));
            }
            let (cost, now) = (cost(&message, size), began.elapsed());
            if budget.check(MESSAGES, cost, now).is_err() {
                self.service.metrics.rate_limited(Limit::Messages.as_str());
                return self.end(answers, &Limit::Messages.refusal(PENALTY));
            }
            budget.take(MESSAGES, cost, now);
            let heard = Command::Heard {
                stream,
                message: message.kind.map(Box::new),
            };
            if self.service.registry.send(heard).await.is_err() {
                return;
            }
        }
    }

    /// Ends a stream on which something was said that should not be; the registry hears that it is closed.
    fn end(&self, answers: &Outbox, refusal: &Refusal) {
        if self.service.complaints.may_be_said() {
            warn!(spiffe_id = %self.caller, error = %refusal, "session ended");
        } else {
            debug!(spiffe_id = %self.caller, error = %refusal, "session ended");
        }
        // One who reads nothing is ended without the reason.
        if let Some(outbox) = answers.upgrade() {
            drop(outbox.try_send(Err(status::from_refusal(refusal))));
        }
    }
}

/// The refusal of what could be received but not read; `None` when the stream itself broke.
fn unreadable(status: &Status) -> Option<Refusal> {
    let refusal = || {
        let why = format!("a message cannot be read: {}", status.message());
        Refusal::new(Reason::InvalidMessage, why)
    };
    status.source().is_none().then(refusal)
}

/// What a message costs us: others must be asked, or written to, because of some.
fn cost(message: &HarnessMessage, size: usize) -> u32 {
    let kind = match &message.kind {
        // A drain, two writes, and proxies everywhere that take another address.
        Some(Kind::Addresses(_)) => 25,
        // Perhaps a write.
        Some(Kind::Health(_)) => 2,
        _ => 1,
    };
    kind + u32::try_from(size / 1024).unwrap_or(u32::MAX / 2)
}

#[cfg(test)]
mod tests {
    use linkerd_harness_api::v1;

    use super::*;

    fn lasts(kind: Kind, between: Duration) -> bool {
        let message = HarnessMessage { kind: Some(kind) };
        let cost = cost(&message, message.encoded_len());
        let mut budget = Bucket::default();
        (0..10_000).all(|n| {
            let now = between * n;
            let room = budget.check(MESSAGES, cost, now).is_ok();
            budget.take(MESSAGES, cost, now);
            room
        })
    }

    #[test]
    fn what_a_harness_says_in_any_state_is_within_its_budget() {
        let second = Duration::from_secs(1);
        let beat = || Kind::Heartbeat(v1::Heartbeat { seq: 1 });
        let flap = || Kind::Health(v1::HealthReport::default());
        assert!(lasts(beat(), second / 50));
        assert!(!lasts(beat(), second / 60));
        assert!(lasts(flap(), second / 20), "a probe a second flaps less");
        assert!(!lasts(flap(), second / 30));
        let moves = || Kind::Addresses(v1::AddressChange::default());
        assert!(lasts(moves(), second));
        assert!(!lasts(moves(), second / 4));
    }
}
