//! Answers the other replicas.

use std::sync::Arc;

use linkerd_harness_api::peer::claim_reply::Outcome;
use linkerd_harness_api::peer::peers_server::{Peers as Api, PeersServer};
use linkerd_harness_api::peer::{
    ClaimReply, ClaimRequest, Phase as PhaseOnWire, SessionsReply, SessionsRequest,
};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};
use tracing::{info, warn};

use super::{ENVELOPE, Phase};
use crate::process;
use crate::registry::name::Fingerprint;
use crate::registry::{Claim, Claimed};

/// Claims of one peer at a time, each of 5 s at most. One too many would wait without a word.
const STREAMS: u32 = 1 << 16;
/// As in `Hello`.
const LONGEST_SESSION_ID: usize = 64;

/// The sessions of this replica.
pub trait Sessions: Send + Sync + 'static {
    /// The first 16 bytes of the fingerprint of each VM that has a session here. `None` when nobody can say.
    fn digest(&self) -> impl Future<Output = Option<Vec<[u8; 16]>>> + Send;

    /// How many these are, without a look at each of them.
    fn count(&self) -> impl Future<Output = Option<usize>> + Send;

    /// Gives a VM up that is on another replica now, unless it is here and lives.
    ///
    /// When two replicas claim the same VM at the same time, both are answered here before one of them has it. An
    /// implementation must count a session that waits for its own claim as a session, or both would be free.
    fn claim(&self, claim: Claim) -> impl Future<Output = Claimed> + Send;
}

/// Who keeps strangers from the port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meshed {
    /// The pod's Linkerd proxy, with an `AuthorizationPolicy`.
    Yes,
    /// Nobody but the network. A stranger learns hashes of which VMs are here and can have them asked whether they
    /// live; to end a session it needs the random id of its process, or a VM that does not answer.
    No,
}

/// The service.
#[derive(Debug)]
pub struct Server<S> {
    /// Name of this replica; no other one has it.
    pub replica: Arc<str>,
    /// What is asked for.
    pub sessions: S,
    /// What this replica is doing.
    pub phase: watch::Receiver<Phase>,
}

// === impl Server ===

impl<S: Sessions> Server<S> {
    /// Serves until `stop`. Connections that are open then end with the process.
    pub async fn run(
        self,
        listener: TcpListener,
        meshed: Meshed,
        stop: impl Future<Output = ()>,
    ) -> Result<(), tonic::transport::Error> {
        if let (Meshed::No, Ok(addr)) = (meshed, listener.local_addr()) {
            if addr.ip().is_loopback() {
                info!(%addr, "other replicas are answered on loopback only");
            } else {
                warn!(
                    %addr,
                    "other replicas are answered without TLS and without a Linkerd proxy; let only this service's pods \
                     reach this port (NetworkPolicy)"
                );
            }
        }
        process::server(STREAMS)
            .tcp_nodelay(true)
            .add_service(PeersServer::new(self).max_decoding_message_size(ENVELOPE))
            .serve_with_incoming_shutdown(TcpListenerStream::new(listener), stop)
            .await
    }
}

#[tonic::async_trait]
impl<S: Sessions> Api for Server<S> {
    async fn sessions(
        &self,
        request: Request<SessionsRequest>,
    ) -> Result<Response<SessionsReply>, Status> {
        let answer = if request.into_inner().count_only {
            let count = self.sessions.count().await;
            count.map(|count| (count, Vec::new()))
        } else {
            let digest = self.sessions.digest().await;
            digest.map(|digest| (digest.len(), digest.into_flattened()))
        };
        let Some((sessions, prefixes)) = answer else {
            return Err(Status::unavailable("this replica cannot say"));
        };
        let phase = match *self.phase.borrow() {
            Phase::Starting => PhaseOnWire::Starting,
            Phase::Serving => PhaseOnWire::Serving,
            Phase::Stopping => PhaseOnWire::Stopping,
        };
        Ok(Response::new(SessionsReply {
            prefixes,
            sessions: u64::try_from(sessions).unwrap_or(u64::MAX),
            replica: self.replica.to_string(),
            phase: phase.into(),
        }))
    }

    async fn claim(&self, request: Request<ClaimRequest>) -> Result<Response<ClaimReply>, Status> {
        let request = request.into_inner();
        let Ok(fingerprint) = <[u8; 32]>::try_from(request.fingerprint) else {
            return Err(Status::invalid_argument("fingerprint: must have 32 bytes"));
        };
        if request.session_id.is_empty() || request.session_id.len() > LONGEST_SESSION_ID {
            let why = format!("session_id: must have 1 to {LONGEST_SESSION_ID} bytes");
            return Err(Status::invalid_argument(why));
        }
        let outcome = if *request.asker == *self.replica {
            // We have reached ourselves at an address that we do not know to be ours.
            Claimed::Free
        } else {
            let claim = Claim {
                fingerprint: Fingerprint::from_bytes(fingerprint),
                session_id: request.session_id,
                stream_seq: request.stream_seq,
            };
            self.sessions.claim(claim).await
        };
        let outcome = match outcome {
            Claimed::Free | Claimed::Unheard => Outcome::Free,
            Claimed::Superseded => Outcome::Superseded,
            Claimed::Held => Outcome::Held,
        };
        Ok(Response::new(ClaimReply {
            outcome: outcome.into(),
        }))
    }
}
