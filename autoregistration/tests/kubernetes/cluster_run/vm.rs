//! A VM's harness, as far as the registration protocol goes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use linkerd_harness_api::v1::health_ack::Outcome;
use linkerd_harness_api::v1::health_report::State;
use linkerd_harness_api::v1::registration_client::RegistrationClient;
use linkerd_harness_api::v1::{self, controller_message::Kind, harness_message, leave::Mode};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};
use tonic_types::StatusExt as _;

use super::mesh::{GROUP, NAMESPACE};
use crate::cluster::DEADLINE;

/// A heartbeat with it is the controller's question.
const QUESTION: u64 = 1 << 63;
const BETWEEN_HEARTBEATS: Duration = Duration::from_secs(20);

/// A machine, and the process on it.
#[derive(Clone, Debug)]
pub(super) struct Vm {
    pub(super) identity: String,
    pub(super) hello: v1::Hello,
}

/// A stream of it; dropping it hangs up without a word.
pub(super) struct Session {
    say: mpsc::Sender<v1::HarnessMessage>,
    hear: mpsc::UnboundedReceiver<Result<Kind, End>>,
    answers: Arc<AtomicBool>,
    task: JoinHandle<()>,
    seq: u64,
    /// It was asked to go while something else was waited for.
    asked_to_go: bool,
}

/// How a stream ended: with a reason, or well.
pub(super) type End = Option<String>;

// === impl Vm ===

impl Vm {
    /// A machine of its own.
    pub(super) fn new(number: u8) -> Self {
        let hello = v1::Hello {
            group: Some(v1::GroupRef {
                namespace: NAMESPACE.into(),
                name: GROUP.into(),
            }),
            instance_id: vec![number; 32],
            boot_id: vec![1; 16],
            session_id: vec![number; 16],
            stream_seq: 0,
            ips: vec![format!("10.77.0.{number}")],
            zone: "zone-a".into(),
            build: Some(v1::BuildInfo {
                hostname: format!("vm-{number}"),
                ..v1::BuildInfo::default()
            }),
            health: Some(report(1, State::Starting)),
            capabilities: vec![linkerd_harness_api::CAPABILITY_PENDING.to_owned()],
            ..v1::Hello::default()
        };
        Self {
            identity: format!("spiffe://root.linkerd.cluster.local/vms/{number}"),
            hello,
        }
    }

    /// The same machine with another process.
    pub(super) fn restarted(&self) -> Self {
        let mut again = self.clone();
        again.hello.session_id = self
            .hello
            .session_id
            .iter()
            .map(|byte| byte ^ 0xff)
            .collect();
        again.hello.stream_seq = 0;
        again
    }

    /// It is of the group of that name in this namespace.
    pub(super) fn of(&mut self, namespace: &str) {
        let group = self.hello.group.as_mut().unwrap();
        namespace.clone_into(&mut group.namespace);
    }

    /// What it says in each `Hello` from now on.
    pub(super) fn is(&mut self, state: State) {
        self.hello.health = Some(report(1, state));
    }

    /// A new stream, over a connection of its own.
    pub(super) async fn open(&mut self, addr: SocketAddr) -> Result<Session, Status> {
        self.hello.stream_seq += 1;
        let endpoint = Endpoint::from_shared(format!("http://{addr}")).unwrap();
        let channel = endpoint
            .connect()
            .await
            .map_err(|error| Status::unavailable(error.to_string()))?;
        Session::open(channel, &self.identity, self.hello.clone()).await
    }

    /// A new stream on which it is a workload, and what it is told.
    pub(super) async fn join(&mut self, addr: SocketAddr) -> (Session, v1::Assignment) {
        let mut session = self.open(addr).await.unwrap();
        let assignment = session.assignment().await;
        (session, assignment)
    }

    /// A new stream, which ends before it is a workload; answers with the reason.
    pub(super) async fn is_refused(&mut self, addr: SocketAddr) -> String {
        match self.open(addr).await {
            Ok(mut session) => session.refused().await,
            Err(status) => reason(&status),
        }
    }

    /// The same, and it is well; answers with its name.
    pub(super) async fn join_well(&mut self, addr: SocketAddr) -> (Session, String) {
        let (mut session, assignment) = self.join(addr).await;
        session.reports(State::Healthy).await;
        self.is(State::Healthy);
        (session, name(&assignment))
    }
}

pub(super) fn name(assignment: &v1::Assignment) -> String {
    assignment.workload.as_ref().unwrap().name.clone()
}

fn report(seq: u64, state: State) -> v1::HealthReport {
    v1::HealthReport {
        seq,
        state: state.into(),
        message: "GET /ready".into(),
        ..v1::HealthReport::default()
    }
}

// === impl Session ===

impl Session {
    async fn open(channel: Channel, identity: &str, hello: v1::Hello) -> Result<Self, Status> {
        let (say, said) = mpsc::channel(8);
        let kind = Some(harness_message::Kind::Hello(hello));
        say.send(v1::HarnessMessage { kind }).await.unwrap();
        let mut request = Request::new(ReceiverStream::new(said));
        let identity = identity.parse().unwrap();
        request.metadata_mut().insert("l5d-client-id", identity);
        let mut client = RegistrationClient::new(channel);
        let stream = timeout(DEADLINE, client.session(request)).await;
        let stream = stream.expect("no answer in time")?.into_inner();
        let (heard, hear) = mpsc::unbounded_channel();
        let answers = Arc::new(AtomicBool::new(true));
        let lives = live(stream, say.clone(), heard, Arc::clone(&answers));
        Ok(Self {
            say,
            hear,
            answers,
            task: tokio::spawn(lives),
            seq: 1,
            asked_to_go: false,
        })
    }

    /// From now on it is as if its process hung.
    pub(super) fn hang(&self) {
        self.answers.store(false, Ordering::Relaxed);
    }

    async fn say(&self, kind: harness_message::Kind) {
        assert!(self.tries_to_say(kind).await);
    }

    /// Whether the stream was still there to say it on.
    pub(super) async fn tries_to_say(&self, kind: harness_message::Kind) -> bool {
        let message = v1::HarnessMessage { kind: Some(kind) };
        self.say.send(message).await.is_ok()
    }

    /// Says how it is, and nothing more.
    pub(super) async fn says(&mut self, state: State) -> u64 {
        self.seq += 1;
        let report = report(self.seq, state);
        self.say(harness_message::Kind::Health(report)).await;
        self.seq
    }

    /// Says how it is, until that is written.
    pub(super) async fn reports(&mut self, state: State) {
        let seq = self.says(state).await;
        assert_eq!(self.acknowledged(seq).await, Outcome::Persisted);
    }

    /// Says that it has another address.
    pub(super) async fn moves_to(&mut self, ip: &str) {
        self.seq += 1;
        let change = v1::AddressChange {
            seq: self.seq,
            ips: vec![ip.to_owned()],
        };
        self.say(harness_message::Kind::Addresses(change)).await;
    }

    pub(super) async fn leaves(&self, mode: Mode) {
        let leave = v1::Leave {
            mode: mode.into(),
            reason: "for a test".into(),
            ..v1::Leave::default()
        };
        self.say(harness_message::Kind::Leave(leave)).await;
    }

    /// What comes next that is wanted. Others are not looked at.
    pub(super) async fn hears<T>(
        &mut self,
        what: &str,
        wanted: impl Fn(Result<Kind, End>) -> Option<T>,
    ) -> T {
        let hearing = async {
            loop {
                let heard = self.hear.recv().await;
                let heard = heard.unwrap_or_else(|| panic!("ended, and no {what} came"));
                let shown = format!("{heard:?}");
                let end = heard.is_err();
                self.asked_to_go |= matches!(heard, Ok(Kind::GoAway(_)));
                if let Some(found) = wanted(heard) {
                    return found;
                }
                assert!(!end, "{shown} instead of {what}");
            }
        };
        let heard = timeout(DEADLINE, hearing).await;
        heard.unwrap_or_else(|_| panic!("no {what} came in time"))
    }

    pub(super) async fn assignment(&mut self) -> v1::Assignment {
        self.hears("assignment", |heard| match heard {
            Ok(Kind::Assignment(assignment)) => Some(assignment),
            _ => None,
        })
        .await
    }

    /// Why the stream ends, which it does before there is an assignment.
    async fn refused(&mut self) -> String {
        self.hears("refusal", |heard| match heard {
            Ok(Kind::Assignment(told)) => panic!("let in: {told:?}"),
            Ok(_) => None,
            Err(end) => Some(end.unwrap_or_default()),
        })
        .await
    }

    pub(super) async fn pending(&mut self) -> String {
        self.pending_words().await.0
    }

    /// Reason and message of a word to wait.
    pub(super) async fn pending_words(&mut self) -> (String, String) {
        self.hears("word to wait", |heard| match heard {
            Ok(Kind::Pending(pending)) => Some((pending.reason, pending.message)),
            _ => None,
        })
        .await
    }

    pub(super) async fn acknowledged(&mut self, seq: u64) -> Outcome {
        self.hears("acknowledgement", |heard| match heard {
            Ok(Kind::HealthAck(ack)) if ack.seq == seq => Some(ack.outcome()),
            _ => None,
        })
        .await
    }

    pub(super) async fn end(&mut self) -> End {
        self.hears("end", Result::err).await
    }

    /// Waits until the stream should be left for another one; answers with its end when it has ended instead.
    pub(super) async fn sent_away(&mut self) -> Option<End> {
        if self.asked_to_go {
            return None;
        }
        loop {
            match self.hear.recv().await {
                Some(Ok(Kind::GoAway(_))) => return None,
                Some(Ok(_)) => {}
                Some(Err(end)) => return Some(end),
                None => return Some(None),
            }
        }
    }

    /// Whether nothing has come since what was last waited for.
    pub(super) fn heard_nothing(&mut self) -> bool {
        self.hear.try_recv().is_err()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Answers questions, says that it lives, and passes on what else it is told.
async fn live(
    mut stream: Streaming<v1::ControllerMessage>,
    say: mpsc::Sender<v1::HarnessMessage>,
    heard: mpsc::UnboundedSender<Result<Kind, End>>,
    answers: Arc<AtomicBool>,
) {
    let mut beats = tokio::time::interval(BETWEEN_HEARTBEATS);
    let mut seq = 0;
    loop {
        let message = tokio::select! {
            message = stream.message() => message,
            _ = beats.tick() => {
                seq += 1;
                if answers.load(Ordering::Relaxed) {
                    beat(&say, seq).await;
                }
                continue;
            }
        };
        let passed_on = match message {
            Ok(Some(message)) => match message.kind.unwrap() {
                Kind::Heartbeat(question) if question.seq & QUESTION != 0 => {
                    if answers.load(Ordering::Relaxed) {
                        beat(&say, question.seq).await;
                    }
                    continue;
                }
                Kind::Heartbeat(_) => continue,
                kind => Ok(kind),
            },
            Ok(None) => Err(None),
            Err(status) => Err(Some(reason(&status))),
        };
        let ended = passed_on.is_err();
        let _nobody = heard.send(passed_on);
        if ended {
            return;
        }
    }
}

async fn beat(say: &mpsc::Sender<v1::HarnessMessage>, seq: u64) {
    let kind = Some(harness_message::Kind::Heartbeat(v1::Heartbeat { seq }));
    let _ended = say.send(v1::HarnessMessage { kind }).await;
}

/// The reason of a refusal; of a broken stream what is known.
fn reason(status: &Status) -> String {
    match status.get_details_error_info() {
        Some(info) => info.reason,
        None => format!("{:?}", status.code()),
    }
}
