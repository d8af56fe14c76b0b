//! The registration API: a thin shell between streams and the [`registry`](crate::registry).
//!
//! Who the caller is comes from its certificate ([`PeerIdentity`]), checked before its first message is read. Nobody gets
//! to the registry with more than it can take: see [`limits`].

pub mod limits;
pub mod status;

mod bucket;
mod complaints;
mod silent;
mod stream;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use linkerd_harness_api::v1::registration_server::{Registration as Api, RegistrationServer};
use linkerd_harness_api::v1::{CheckResult, ControllerMessage, HarnessMessage, Hello};
use tokio::sync::{mpsc, oneshot};
use tonic::{Request, Response, Status, Streaming};
use tracing::{debug, warn};

use self::complaints::Complaints;
use self::limits::{Limit, Limiter, Limits};
use self::silent::Silent;
use self::stream::{HELLO_TIMEOUT, Stream};
use crate::audit::{self, Decision, Outcome};
use crate::identity::{PeerIdentity, SpiffeId};
use crate::metrics::Metrics;
use crate::refusal::{Reason, Refusal};
use crate::registry::StreamId;
use crate::registry::hello;
use crate::registry::task::{Command, ask};

pub use self::bucket::Rate;

/// A `Check` is one message in each direction; half of one must not stay. Sessions are not meant: they have their answer
/// as soon as they are open.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
/// What is decoded at all; a message that counts is smaller, see [`hello::LARGEST_MESSAGE`].
const LARGEST_DECODED: usize = 64 * 1024;
/// Messages that a harness may leave unread. A group edited often while it is busy makes several.
const OUTBOX: usize = 16;

/// The service.
#[derive(Clone, Debug)]
pub struct Registration {
    identity: PeerIdentity,
    trust_domain: Arc<str>,
    registry: mpsc::Sender<Command>,
    streams: Arc<AtomicU64>,
    silent: Silent,
    limiter: Arc<Limiter>,
    complaints: Arc<Complaints>,
    metrics: Metrics,
}

/// Messages to a harness. Tells the reader of the stream when it is over.
#[derive(Debug)]
pub struct Replies {
    messages: mpsc::Receiver<Result<ControllerMessage, Status>>,
    _open: oneshot::Sender<()>,
}

// === impl Registration ===

impl Registration {
    /// The service for VMs of `trust_domain`, behind our own TLS, with the default limits.
    pub fn new(trust_domain: &str, registry: mpsc::Sender<Command>, metrics: Metrics) -> Self {
        Self {
            identity: PeerIdentity::Tls,
            trust_domain: trust_domain.into(),
            registry,
            streams: Arc::default(),
            silent: Silent::default(),
            limiter: Arc::new(Limiter::new(Limits::default())),
            complaints: Arc::default(),
            metrics,
        }
    }

    /// The same with other limits.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        Self {
            limiter: Arc::new(Limiter::new(limits)),
            ..self
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
        RegistrationServer::new(self).max_decoding_message_size(LARGEST_DECODED)
    }

    fn caller<T>(&self, request: &Request<T>) -> Result<SpiffeId, Box<Status>> {
        let caller = self.identity.caller(request, &self.trust_domain);
        caller.map_err(|refusal| {
            let addr = self.identity.address(request);
            Box::new(self.refuse(None, &addr, &refusal))
        })
    }

    /// Refuses one for having too much of something.
    fn too_much(&self, caller: &SpiffeId, (limit, wait): (Limit, Duration)) -> Status {
        self.metrics.rate_limited(limit.as_str());
        self.refuse(Some(caller), "", &limit.refusal(wait))
    }

    /// Refuses one of whom the registry does not hear. Anybody who reaches the port can cause this as fast as he likes,
    /// so that not all of it is written; all of it is counted.
    fn refuse(&self, caller: Option<&SpiffeId>, addr: &str, refusal: &Refusal) -> Status {
        let reason = refusal.reason();
        self.metrics.hello(reason.as_str());
        let loud = self.complaints.may_be_said();
        // Those who got as far as this are few: they were counted by the limits.
        let few = matches!(reason, Reason::InvalidHello | Reason::NoHello);
        if loud || few {
            let refused = Decision::about(caller, Outcome::Refused);
            audit::decision(&refused.because(reason.as_str(), refusal.message()));
        }
        let spiffe_id = caller.map_or("", SpiffeId::as_str);
        if loud {
            warn!(client.addr = addr, spiffe_id, error = %refusal, "caller refused");
        } else {
            debug!(client.addr = addr, spiffe_id, error = %refusal, "caller refused");
        }
        status::from_refusal(refusal)
    }

    fn next_stream(&self) -> StreamId {
        self.streams.fetch_add(1, Ordering::Relaxed) + 1
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
        let Some(place) = self.silent.enter(&caller) else {
            return Err(self.too_much(&caller, (Limit::Silent, HELLO_TIMEOUT)));
        };
        let (outbox, messages) = mpsc::channel(OUTBOX);
        let (open, over) = oneshot::channel();
        let stream = Stream {
            service: self.clone(),
            caller,
            messages: request.into_inner(),
        };
        tokio::spawn(stream.serve(place, outbox, over));
        Ok(Response::new(Replies {
            messages,
            _open: open,
        }))
    }

    async fn check(&self, request: Request<Hello>) -> Result<Response<CheckResult>, Status> {
        let caller = self.caller(&request).map_err(|status| *status)?;
        let taken = self.limiter.take(&caller, None);
        taken.map_err(|limit| self.too_much(&caller, limit))?;
        let identity = caller.to_string();
        let hello = match hello::check(request.into_inner()) {
            Ok(hello) => Box::new(hello),
            Err(refusal) => {
                let checked = Decision::about(Some(&caller), Outcome::Check);
                audit::decision(&checked.because(refusal.reason().as_str(), refusal.message()));
                return Ok(Response::new(CheckResult {
                    ok: false,
                    identity,
                    workload_name: String::new(),
                    problems: vec![refusal.to_string()],
                    warnings: Vec::new(),
                }));
            }
        };
        let check = |reply| Command::Check {
            caller: caller.clone(),
            hello: hello.clone(),
            reply,
        };
        let verdict = ask(&self.registry, check).await.ok_or_else(|| {
            status::from_refusal(&Refusal::new(
                Reason::Draining,
                "the controller is going down",
            ))
        })?;
        // A problem begins with its reason.
        let first = verdict.problems.first().map_or("", String::as_str);
        let reason = first.split(':').next().unwrap_or_default();
        let detail = [verdict.problems.join("; "), verdict.warnings.join("; ")];
        let detail = detail.into_iter().filter(|text| !text.is_empty());
        let checked = Decision::about_hello(&caller, &hello, Outcome::Check);
        audit::decision(&checked.because(reason, &detail.collect::<Vec<_>>().join("; ")));
        Ok(Response::new(CheckResult {
            ok: verdict.problems.is_empty(),
            identity,
            workload_name: verdict.workload_name,
            problems: verdict.problems,
            warnings: verdict.warnings,
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
