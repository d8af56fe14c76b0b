//! Asks the other replicas.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use linkerd_harness_api::peer::claim_reply::Outcome;
use linkerd_harness_api::peer::peers_client::PeersClient;
use linkerd_harness_api::peer::{
    ClaimRequest, Phase as PhaseOnWire, SessionsReply, SessionsRequest,
};
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::transport::{Channel, Endpoint};
use tracing::{debug, info, warn};

use super::census::{Answer, Census};
use super::{ENVELOPE, MOST_SESSIONS, PREFIX, Phase};
use crate::kubernetes::peers::Roster;
use crate::metrics::Metrics;
use crate::registry::{Claim, Claimed};
use crate::report;

/// For an answer about sessions.
const QUERY: Duration = Duration::from_secs(3);
/// For an answer to a claim: a VM has 5 s to show that it lives.
const CLAIM: Duration = Duration::from_secs(7);
const CONNECT: Duration = Duration::from_secs(2);
/// A connection that was cut without a word is noticed after the sum of these.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);
const LARGEST_ANSWER: usize = MOST_SESSIONS * PREFIX + ENVELOPE;

/// The other replicas. Clones share their connections.
#[derive(Clone, Debug)]
pub struct Peers(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    replica: String,
    roster: watch::Receiver<Arc<Roster>>,
    metrics: Metrics,
    known: Mutex<Known>,
}

/// Never held over an `await`.
#[derive(Debug, Default)]
struct Known {
    channels: BTreeMap<SocketAddr, Channel>,
    silent: BTreeSet<SocketAddr>,
}

/// What a peer has said of its sessions.
struct Told {
    replica: String,
    sessions: usize,
    phase: Phase,
    prefixes: Vec<[u8; PREFIX]>,
}

/// Why a peer has not answered.
enum Silence {
    Late,
    Refused(tonic::Status),
    Nonsense(&'static str),
}

// === impl Peers ===

impl Peers {
    /// Those of `roster`; `replica` is our own name, which no other one has.
    pub fn new(replica: &str, roster: watch::Receiver<Arc<Roster>>, metrics: Metrics) -> Self {
        Self(Arc::new(Inner {
            replica: replica.to_owned(),
            roster,
            metrics,
            known: Mutex::default(),
        }))
    }

    /// Whom the others have sessions with. Takes 3 s at most.
    pub async fn census(&self) -> Census {
        let at = Instant::now();
        let mut census = Census {
            at,
            complete: true,
            present: HashSet::new(),
            silent: Vec::new(),
        };
        for (peer, needed, told) in self.ask_all(false).await {
            if let Some(told) = told {
                census.present.extend(told.prefixes);
            } else {
                census.complete &= needed == Answer::Welcome;
                census.silent.push(peer);
            }
        }
        census
    }

    /// How many sessions each of the others has, when all that are in service have said so and take VMs: of one that
    /// comes or goes nobody knows how many it will have. Takes 3 s at most.
    pub async fn loads(&self) -> Option<Vec<usize>> {
        // A replica may be reached at two addresses, and one may be our own.
        let mut loads = BTreeMap::new();
        for (_, needed, told) in self.ask_all(true).await {
            match told {
                Some(told) if told.phase == Phase::Serving => {
                    loads.insert(told.replica, told.sessions);
                }
                None if needed == Answer::Welcome => {}
                Some(_) | None => return None,
            }
        }
        loads.remove(&self.0.replica);
        Some(loads.into_values().collect())
    }

    /// Asks all others to give a VM up that is here. One that cannot be reached does not keep a VM from returning, but
    /// has to be asked again when it can be. Takes 7 s at most.
    pub async fn claim(&self, claim: &Claim) -> Claimed {
        let roster = self.roster();
        let asked = roster.iter().map(|(peer, needed)| async move {
            let answer = self.claim_from(*peer, claim).await;
            (*needed, answer)
        });
        let mut answers = asked.collect::<FuturesUnordered<_>>();
        let mut outcome = Claimed::Free;
        while let Some((needed, answer)) = answers.next().await {
            match answer {
                Some(Claimed::Free) => {}
                Some(taken) => return taken,
                None if needed == Answer::Needed => outcome = Claimed::Unheard,
                None => {}
            }
        }
        outcome
    }

    /// Those who are there now. Forgets what is known of others.
    fn roster(&self) -> Arc<Roster> {
        let roster = Arc::clone(&self.0.roster.borrow());
        let mut known = self.known();
        known.channels.retain(|peer, _| roster.contains_key(peer));
        known.silent.retain(|peer| roster.contains_key(peer));
        roster
    }

    async fn ask_all(&self, count_only: bool) -> Vec<(SocketAddr, Answer, Option<Told>)> {
        let roster = self.roster();
        let asked = roster.iter().map(|(peer, needed)| async move {
            let answer = self.sessions_of(*peer, count_only).await;
            (*peer, *needed, answer)
        });
        futures::future::join_all(asked).await
    }

    async fn sessions_of(&self, peer: SocketAddr, count_only: bool) -> Option<Told> {
        let request = SessionsRequest {
            count_only,
            asker: self.0.replica.clone(),
        };
        let asking = async {
            let mut client = self.client(peer)?;
            Ok(client.sessions(request).await?.into_inner())
        };
        let answer = in_time(QUERY, asking).await.and_then(read);
        self.heard(peer, answer)
    }

    async fn claim_from(&self, peer: SocketAddr, claim: &Claim) -> Option<Claimed> {
        let request = ClaimRequest {
            fingerprint: claim.fingerprint.to_bytes().into(),
            session_id: claim.session_id.clone(),
            stream_seq: claim.stream_seq,
            asker: self.0.replica.clone(),
        };
        let asking = async {
            let mut client = self.client(peer)?;
            Ok(client.claim(request).await?.into_inner())
        };
        let answer = in_time(CLAIM, asking)
            .await
            .and_then(|reply| match reply.outcome() {
                Outcome::Free => Ok(Claimed::Free),
                Outcome::Superseded => Ok(Claimed::Superseded),
                Outcome::Held => Ok(Claimed::Held),
                Outcome::Unspecified => Err(Silence::Nonsense("an outcome that is not known")),
            });
        self.heard(peer, answer)
    }

    /// Connects when it is first used, and again when it is lost.
    fn client(&self, peer: SocketAddr) -> Result<PeersClient<Channel>, tonic::Status> {
        let mut known = self.known();
        let channel = if let Some(channel) = known.channels.get(&peer) {
            channel.clone()
        } else {
            let endpoint = Endpoint::from_shared(format!("http://{peer}"))
                .map_err(|error| tonic::Status::internal(error.to_string()))?
                .connect_timeout(CONNECT)
                .tcp_nodelay(true)
                .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
                .keep_alive_timeout(KEEPALIVE_TIMEOUT)
                .keep_alive_while_idle(true);
            let channel = endpoint.connect_lazy();
            known.channels.insert(peer, channel.clone());
            channel
        };
        Ok(PeersClient::new(channel).max_decoding_message_size(LARGEST_ANSWER))
    }

    /// Counts an answer, and says when a peer falls silent and when it is back.
    fn heard<T>(&self, peer: SocketAddr, answer: Result<T, Silence>) -> Option<T> {
        let silence = match answer {
            Ok(answer) => {
                self.0.metrics.peer_query("answered");
                if self.known().silent.remove(&peer) {
                    info!(%peer, "replica answers again");
                }
                return Some(answer);
            }
            Err(silence) => silence,
        };
        let (outcome, error) = match silence {
            Silence::Late => ("silent", "no answer in time".to_owned()),
            Silence::Refused(status) => ("silent", report::chain(&status)),
            Silence::Nonsense(what) => ("nonsense", what.to_owned()),
        };
        self.0.metrics.peer_query(outcome);
        let first = {
            let mut known = self.known();
            // Nobody knows what has become of the connection.
            known.channels.remove(&peer);
            known.silent.insert(peer)
        };
        if first {
            warn!(%peer, error, "replica does not answer");
        } else {
            debug!(%peer, error, "replica does not answer");
        }
        None
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn in_time<T>(
    time: Duration,
    asking: impl Future<Output = Result<T, tonic::Status>>,
) -> Result<T, Silence> {
    match tokio::time::timeout(time, asking).await {
        Ok(answer) => answer.map_err(Silence::Refused),
        Err(_elapsed) => Err(Silence::Late),
    }
}

fn read(reply: SessionsReply) -> Result<Told, Silence> {
    let phase = match reply.phase() {
        PhaseOnWire::Starting => Phase::Starting,
        PhaseOnWire::Stopping => Phase::Stopping,
        PhaseOnWire::Serving | PhaseOnWire::Unspecified => Phase::Serving,
    };
    Ok(Told {
        prefixes: prefixes(&reply.prefixes).map_err(Silence::Nonsense)?,
        sessions: usize::try_from(reply.sessions).unwrap_or(usize::MAX),
        replica: reply.replica,
        phase,
    })
}

/// Those that are in `bytes`, one after the other.
pub fn prefixes(bytes: &[u8]) -> Result<Vec<[u8; PREFIX]>, &'static str> {
    let (prefixes, rest) = bytes.as_chunks::<PREFIX>();
    if rest.is_empty() {
        Ok(prefixes.to_vec())
    } else {
        Err("half a fingerprint")
    }
}
