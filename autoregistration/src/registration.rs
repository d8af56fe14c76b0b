//! The registration API: a thin shell between streams and the [`registry`](crate::registry).
//!
//! Who the caller is comes from its certificate ([`PeerIdentity`]), checked before its first message is read.

mod complaints;
pub mod status;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use linkerd_harness_api::v1::registration_server::{Registration as Api, RegistrationServer};
use linkerd_harness_api::v1::{
    CheckResult, ControllerMessage, HarnessMessage, Hello, harness_message,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tonic::{Request, Response, Status, Streaming};
use tracing::{debug, warn};

use self::complaints::Complaints;
use crate::identity::{PeerIdentity, SpiffeId};
use crate::metrics::Metrics;
use crate::refusal::{Reason, Refusal};
use crate::registry::StreamId;
use crate::registry::hello;
use crate::registry::task::Command;

/// A harness says `Hello` at once; one that does not is none.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// Streams that have not said `Hello`.
const MOST_SILENT_STREAMS: usize = 1000;
/// A `Hello` with many labels has a few KiB.
const LARGEST_MESSAGE: usize = 64 * 1024;
/// Messages that a harness may leave unread. A group edited often while it is busy makes several.
const OUTBOX: usize = 16;

/// The service.
#[derive(Clone, Debug)]
pub struct Registration {
    identity: PeerIdentity,
    trust_domain: Arc<str>,
    registry: mpsc::Sender<Command>,
    streams: Arc<AtomicU64>,
    silent: Arc<Semaphore>,
    complaints: Arc<Complaints>,
    metrics: Metrics,
}

/// Messages to a harness. Tells the reader of the stream when it is over.
#[derive(Debug)]
pub struct Replies {
    messages: mpsc::Receiver<Result<ControllerMessage, Status>>,
    _open: oneshot::Sender<()>,
}

/// What a stream holds until its `Hello`, and what tells it that its replies are over.
struct Waiting {
    over: oneshot::Receiver<()>,
    silent: OwnedSemaphorePermit,
}

// === impl Registration ===

impl Registration {
    /// The service for VMs of `trust_domain`, behind our own TLS.
    pub fn new(trust_domain: &str, registry: mpsc::Sender<Command>, metrics: Metrics) -> Self {
        Self {
            identity: PeerIdentity::Tls,
            trust_domain: trust_domain.into(),
            registry,
            streams: Arc::default(),
            silent: Arc::new(Semaphore::new(MOST_SILENT_STREAMS)),
            complaints: Arc::default(),
            metrics,
        }
    }

    /// The same behind the pod's Linkerd proxy, whose word on who the caller is counts. Only [`crate::sidecar::serve`]
    /// asks for it, which knows where connections come from.
    pub(crate) fn behind_sidecar(self) -> Self {
        Self {
            identity: PeerIdentity::Sidecar,
            ..self
        }
    }

    /// As a gRPC server.
    pub fn into_server(self) -> RegistrationServer<Self> {
        RegistrationServer::new(self).max_decoding_message_size(LARGEST_MESSAGE)
    }

    fn caller<T>(&self, request: &Request<T>) -> Result<SpiffeId, Box<Status>> {
        let caller = self.identity.caller(request, &self.trust_domain);
        caller.map_err(|refusal| {
            let addr = self.identity.address(request);
            if self.complaints.may_be_said() {
                warn!(client.addr = %addr, error = %refusal, "caller refused");
            } else {
                debug!(client.addr = %addr, error = %refusal, "caller refused");
            }
            self.metrics.hello(refusal.reason().as_str());
            Box::new(status::from_refusal(&refusal))
        })
    }

    fn invalid(&self, caller: &SpiffeId, refusal: &Refusal) -> Status {
        if self.complaints.may_be_said() {
            warn!(spiffe_id = %caller, error = %refusal, "registration refused");
        } else {
            debug!(spiffe_id = %caller, error = %refusal, "registration refused");
        }
        self.metrics.hello(refusal.reason().as_str());
        status::from_refusal(refusal)
    }

    /// The first message, checked.
    async fn hello(
        &self,
        caller: &SpiffeId,
        messages: &mut Streaming<HarnessMessage>,
    ) -> Result<Box<hello::Hello>, Box<Status>> {
        let no_hello = |why: &str| {
            let refusal = Refusal::new(Reason::NoHello, why);
            Box::new(self.invalid(caller, &refusal))
        };
        let first = tokio::time::timeout(HELLO_TIMEOUT, messages.message())
            .await
            .map_err(|_elapsed| no_hello("no Hello came in 10 s"))?
            .map_err(Box::new)?
            .and_then(|message| message.kind);
        let Some(harness_message::Kind::Hello(hello)) = first else {
            return Err(no_hello("the first message is not a Hello"));
        };
        hello::check(hello)
            .map(Box::new)
            .map_err(|refusal| Box::new(self.invalid(caller, &refusal)))
    }

    /// Reads a stream to its end.
    async fn serve(
        self,
        caller: SpiffeId,
        mut messages: Streaming<HarnessMessage>,
        outbox: mpsc::Sender<Result<ControllerMessage, Status>>,
        waiting: Waiting,
    ) {
        let Waiting { mut over, silent } = waiting;
        let hello = tokio::select! {
            hello = self.hello(&caller, &mut messages) => hello,
            _ = &mut over => return,
        };
        drop(silent);
        let hello = match hello {
            Ok(hello) => hello,
            Err(status) => {
                // The harness may have hung up.
                drop(outbox.try_send(Err(*status)));
                return;
            }
        };
        let stream = self.streams.fetch_add(1, Ordering::Relaxed) + 1;
        let open = Command::Open {
            stream,
            caller,
            hello,
            outbox,
        };
        // Fails only when the registry is gone, and then the process ends.
        if self.registry.send(open).await.is_err() {
            return;
        }
        tokio::select! {
            () = self.forward(stream, &mut messages) => {}
            _ = &mut over => {}
        }
        drop(self.registry.send(Command::Closed { stream }).await);
    }

    async fn forward(&self, stream: StreamId, messages: &mut Streaming<HarnessMessage>) {
        loop {
            match messages.message().await {
                Ok(Some(message)) => {
                    let heard = Command::Heard {
                        stream,
                        message: message.kind.map(Box::new),
                    };
                    if self.registry.send(heard).await.is_err() {
                        return;
                    }
                }
                Ok(None) => return,
                Err(status) => {
                    debug!(stream, code = ?status.code(), error = status.message(), "stream broke");
                    return;
                }
            }
        }
    }
}

#[tonic::async_trait]
impl Api for Registration {
    type SessionStream = Replies;

    async fn session(
        &self,
        request: Request<Streaming<HarnessMessage>>,
    ) -> Result<Response<Replies>, Status> {
        let caller = self.caller(&request).map_err(|status| *status)?;
        let Ok(silent) = Arc::clone(&self.silent).try_acquire_owned() else {
            let refusal =
                Refusal::new(Reason::RateLimited, "too many streams wait for their Hello")
                    .retry_after(HELLO_TIMEOUT);
            return Err(self.invalid(&caller, &refusal));
        };
        let (outbox, messages) = mpsc::channel(OUTBOX);
        let (open, over) = oneshot::channel();
        let service = self.clone();
        let incoming = request.into_inner();
        tokio::spawn(service.serve(caller, incoming, outbox, Waiting { over, silent }));
        Ok(Response::new(Replies {
            messages,
            _open: open,
        }))
    }

    async fn check(&self, request: Request<Hello>) -> Result<Response<CheckResult>, Status> {
        let caller = self.caller(&request).map_err(|status| *status)?;
        let identity = caller.to_string();
        let hello = match hello::check(request.into_inner()) {
            Ok(hello) => Box::new(hello),
            Err(refusal) => {
                return Ok(Response::new(CheckResult {
                    ok: false,
                    identity,
                    workload_name: String::new(),
                    problems: vec![refusal.to_string()],
                }));
            }
        };
        let (reply, verdict) = oneshot::channel();
        let check = Command::Check {
            caller,
            hello,
            reply,
        };
        let draining = || {
            status::from_refusal(&Refusal::new(
                Reason::Draining,
                "the controller is going down",
            ))
        };
        self.registry
            .send(check)
            .await
            .map_err(|_closed| draining())?;
        let verdict = verdict.await.map_err(|_closed| draining())?;
        Ok(Response::new(CheckResult {
            ok: verdict.problems.is_empty(),
            identity,
            workload_name: verdict.workload_name,
            problems: verdict.problems,
        }))
    }
}

// === impl Replies ===

impl futures::Stream for Replies {
    type Item = Result<ControllerMessage, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.messages.poll_recv(context)
    }
}
