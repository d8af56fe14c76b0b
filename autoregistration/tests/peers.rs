//! Replicas that ask each other, over real connections on loopback.

#![expect(
    clippy::unwrap_used,
    reason = "a test's helpers panic as the test would"
)]

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use autoregistration::kubernetes::leader::Leadership;
use autoregistration::kubernetes::peers::Roster;
use autoregistration::metrics::Metrics;
use autoregistration::peer::census::{self, Answer};
use autoregistration::peer::server::Meshed;
use autoregistration::peer::{MOST_SESSIONS, Peers, Phase, Server, Sessions, client};
use autoregistration::registry::name::Fingerprint;
use autoregistration::registry::{Claim, Claimed};
use linkerd_harness_api::peer::peers_client::PeersClient;
use linkerd_harness_api::peer::{ClaimRequest, SessionsRequest};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tonic::transport::Endpoint;

const DEADLINE: Duration = Duration::from_secs(60);

/// What a replica would answer, and what it was asked.
#[derive(Clone, Debug)]
struct Said {
    digest: Option<Vec<[u8; 16]>>,
    outcome: Claimed,
    claims: Arc<Mutex<Vec<Claim>>>,
}

impl Sessions for Said {
    async fn digest(&self) -> Option<Vec<[u8; 16]>> {
        self.digest.clone()
    }

    async fn count(&self) -> Option<usize> {
        self.digest.as_ref().map(Vec::len)
    }

    async fn claim(&self, claim: Claim) -> Claimed {
        self.claims.lock().unwrap().push(claim);
        self.outcome
    }
}

struct Replica {
    addr: SocketAddr,
    said: Said,
    phase: watch::Sender<Phase>,
    task: JoinHandle<()>,
}

impl Replica {
    async fn start(name: &str, digest: Option<Vec<[u8; 16]>>, outcome: Claimed) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        Self::start_on(listener, name, digest, outcome)
    }

    fn start_on(
        listener: TcpListener,
        name: &str,
        digest: Option<Vec<[u8; 16]>>,
        outcome: Claimed,
    ) -> Self {
        let addr = listener.local_addr().unwrap();
        let said = Said {
            digest,
            outcome,
            claims: Arc::default(),
        };
        let (phase, phase_receiver) = watch::channel(Phase::Serving);
        let server = Server {
            replica: name.into(),
            sessions: said.clone(),
            phase: phase_receiver,
        };
        let task = tokio::spawn(async {
            let served = server.run(listener, Meshed::No, std::future::pending());
            served.await.unwrap();
        });
        Self {
            addr,
            said,
            phase,
            task,
        }
    }

    fn claims(&self) -> usize {
        self.said.claims.lock().unwrap().len()
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Takes connections and says nothing.
async fn mute() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    (listener, addr)
}

fn peers(addrs: &[(SocketAddr, Answer)]) -> (Peers, watch::Sender<Arc<Roster>>) {
    let (roster, receiver) = watch::channel(Arc::new(addrs.iter().copied().collect::<Roster>()));
    let peers = Peers::new("asker", receiver, Metrics::default());
    (peers, roster)
}

fn vm(number: u8) -> [u8; 16] {
    [number; 16]
}

fn claim() -> Claim {
    Claim {
        fingerprint: Fingerprint::from_bytes([7; 32]),
        session_id: vec![1; 16],
        stream_seq: 3,
    }
}

use Claimed::{Free, Held, Superseded};

#[tokio::test]
async fn a_census_is_all_that_the_others_have() {
    let a = Replica::start("a", Some(vec![vm(1), vm(2)]), Free).await;
    let b = Replica::start("b", Some(vec![vm(3)]), Free).await;
    let c = Replica::start("c", Some(Vec::new()), Free).await;
    b.phase.send_replace(Phase::Stopping);
    c.phase.send_replace(Phase::Starting);
    let (peers, _roster) = peers(&[a.addr, b.addr, c.addr].map(|addr| (addr, Answer::Needed)));
    let census = peers.census().await;
    assert!(census.complete);
    assert_eq!(census.present, HashSet::from([vm(1), vm(2), vm(3)]));
    assert_eq!(census.silent, []);
}

#[tokio::test]
async fn what_the_others_have_is_known_when_all_take_vms_and_say_so() {
    let a = Replica::start("a", Some(vec![vm(1), vm(2)]), Free).await;
    let b = Replica::start("b", Some(vec![vm(3)]), Free).await;
    let all = [(a.addr, Answer::Needed), (b.addr, Answer::Needed)];
    let (peers, roster) = peers(&all);
    assert_eq!(peers.loads().await, Some(vec![2, 1]));
    for phase in [Phase::Starting, Phase::Stopping] {
        b.phase.send_replace(phase);
        assert_eq!(peers.loads().await, None, "{phase:?}");
    }
    b.phase.send_replace(Phase::Serving);
    let (_listener, mute) = mute().await;
    for (answer, known) in [(Answer::Needed, None), (Answer::Welcome, Some(vec![2, 1]))] {
        let with_mute = all.into_iter().chain([(mute, answer)]);
        roster.send_replace(Arc::new(with_mute.collect()));
        assert_eq!(peers.loads().await, known);
    }
    roster.send_replace(Arc::default());
    assert_eq!(peers.loads().await, Some(Vec::new()));
}

#[tokio::test]
async fn alone_a_census_is_complete_and_a_claim_free() {
    let (peers, _roster) = peers(&[]);
    let census = peers.census().await;
    assert!(census.complete && census.present.is_empty());
    assert_eq!(peers.claim(&claim()).await, Free);
}

#[tokio::test]
async fn a_silent_replica_makes_a_census_incomplete_unless_it_is_not_in_service() {
    let a = Replica::start("a", Some(vec![vm(1)]), Free).await;
    let b = Replica::start("b", None, Free).await;
    let (_listener, mute) = mute().await;
    let refused = {
        let gone = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        gone.local_addr().unwrap()
    };
    for silent in [mute, refused, b.addr] {
        let (peers, roster) = peers(&[(a.addr, Answer::Needed), (silent, Answer::Needed)]);
        let census = peers.census().await;
        assert!(!census.complete, "{silent}");
        assert_eq!(census.present, HashSet::from([vm(1)]));
        assert_eq!(census.silent, [silent]);

        let unready = [(a.addr, Answer::Needed), (silent, Answer::Welcome)];
        roster.send_replace(Arc::new(unready.into()));
        let census = peers.census().await;
        assert!(census.complete, "{silent}");
        assert_eq!(census.silent, [silent]);
    }
}

#[tokio::test]
async fn a_replica_that_is_not_in_service_but_has_vms_is_believed() {
    let a = Replica::start("a", Some(vec![vm(1)]), Held).await;
    let (peers, _roster) = peers(&[(a.addr, Answer::Welcome)]);
    assert_eq!(peers.census().await.present, HashSet::from([vm(1)]));
    assert_eq!(peers.claim(&claim()).await, Held);
}

#[tokio::test]
async fn a_replica_at_two_addresses_is_one() {
    let a = Replica::start("a", Some(vec![vm(1)]), Free).await;
    let again = Replica::start("a", Some(vec![vm(1)]), Free).await;
    let ourselves = Replica::start("asker", Some(vec![vm(1)]), Held).await;
    let all = [a.addr, again.addr, ourselves.addr].map(|addr| (addr, Answer::Needed));
    let (peers, _roster) = peers(&all);
    assert_eq!(peers.loads().await, Some(vec![1]));
    // Nor do we keep a VM from ourselves.
    assert_eq!(peers.claim(&claim()).await, Free);
    assert_eq!((a.claims(), ourselves.claims()), (1, 0));
}

#[tokio::test]
async fn whoever_has_a_vm_decides_a_claim_and_who_is_silent_does_not() {
    let free = Replica::start("free", Some(Vec::new()), Free).await;
    let (_listener, mute) = mute().await;
    for (outcome, name) in [(Held, "held"), (Superseded, "superseded"), (Free, "other")] {
        let other = Replica::start(name, Some(Vec::new()), outcome).await;
        let all = [free.addr, mute, other.addr].map(|addr| (addr, Answer::Needed));
        let (peers, _roster) = peers(&all);
        // Nobody knows what the silent one would have said.
        let said = if outcome == Free {
            Claimed::Unheard
        } else {
            outcome
        };
        assert_eq!(peers.claim(&claim()).await, said);
        assert_eq!(*other.said.claims.lock().unwrap(), [claim()]);
    }
}

#[tokio::test]
async fn a_replica_that_comes_back_is_asked_again() {
    let a = Replica::start("a", Some(vec![vm(1)]), Free).await;
    let addr = a.addr;
    let (peers, _roster) = peers(&[(addr, Answer::Needed)]);
    assert!(peers.census().await.complete);
    // Its connections are cut, and its port is closed.
    a.task.abort();
    drop(a);
    let silent = async { while peers.census().await.complete {} };
    tokio::time::timeout(DEADLINE, silent).await.unwrap();
    let back = async {
        let listener = loop {
            match TcpListener::bind(addr).await {
                Ok(listener) => break listener,
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        };
        let again = Replica::start_on(listener, "a", Some(vec![vm(2)]), Free);
        while !peers.census().await.complete {}
        again
    };
    let _again = tokio::time::timeout(DEADLINE, back).await.unwrap();
    assert_eq!(peers.census().await.present, HashSet::from([vm(2)]));
}

#[tokio::test]
async fn as_many_sessions_as_a_replica_may_have_fit_into_an_answer() {
    let many = (0..u32::try_from(MOST_SESSIONS).unwrap()).map(|number| {
        let mut prefix = [0; 16];
        prefix[..4].copy_from_slice(&number.to_be_bytes());
        prefix
    });
    let a = Replica::start("a", Some(many.collect()), Free).await;
    let (peers, _roster) = peers(&[(a.addr, Answer::Needed)]);
    let census = peers.census().await;
    assert!(census.complete);
    assert_eq!(census.present.len(), MOST_SESSIONS);
}

#[tokio::test]
async fn claims_that_cannot_be_meant_are_refused() {
    let a = Replica::start("a", Some(vec![vm(1)]), Held).await;
    let endpoint = Endpoint::from_shared(format!("http://{}", a.addr)).unwrap();
    let mut client = PeersClient::new(endpoint.connect_lazy());
    let good = ClaimRequest {
        fingerprint: vec![7; 32],
        session_id: vec![1; 16],
        stream_seq: 1,
        asker: "b".to_owned(),
    };
    let bad = [
        ClaimRequest {
            fingerprint: vec![7; 31],
            ..good.clone()
        },
        ClaimRequest {
            session_id: Vec::new(),
            ..good.clone()
        },
        ClaimRequest {
            session_id: vec![1; 65],
            ..good.clone()
        },
    ];
    for claim in bad {
        let status = client.claim(claim).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::InvalidArgument, "{status}");
    }
    let long = "a".repeat(1 << 20);
    client
        .claim(ClaimRequest {
            asker: long,
            ..good.clone()
        })
        .await
        .unwrap_err();
    assert_eq!(a.claims(), 0);
    client.claim(good).await.unwrap();
    assert_eq!(a.claims(), 1);

    let count = SessionsRequest {
        count_only: true,
        asker: String::new(),
    };
    let reply = client.sessions(count).await.unwrap().into_inner();
    assert_eq!((reply.sessions, reply.prefixes.len()), (1, 0));
}

#[tokio::test]
async fn half_a_fingerprint_is_no_answer() {
    assert!(client::prefixes(&[0; 17]).is_err());
    assert_eq!(client::prefixes(&[0; 32]).unwrap().len(), 2);
    assert!(client::prefixes(&[]).unwrap().is_empty());
}

#[tokio::test]
async fn a_leader_takes_a_census_at_once_and_nobody_else_does() {
    let a = Replica::start("a", Some(vec![vm(1)]), Free).await;
    let (peers, _roster) = peers(&[(a.addr, Answer::Needed)]);
    let (out, mut census) = mpsc::channel(1);
    let running = tokio::spawn(census::run(Leadership::always(), peers.clone(), out));
    let first = tokio::time::timeout(DEADLINE, census.recv())
        .await
        .unwrap()
        .unwrap();
    assert!(first.complete);
    drop(census);
    tokio::time::timeout(DEADLINE, running)
        .await
        .unwrap()
        .unwrap();

    let (out, mut census) = mpsc::channel(1);
    let running = tokio::spawn(census::run(Leadership::never(), peers, out));
    // Who elects is gone, so it ends without a word.
    assert!(census.recv().await.is_none());
    running.await.unwrap();
}
