//! One simulated harness.

use std::time::Duration;

use linkerd_harness_api::CAPABILITY_PENDING;
use linkerd_harness_api::v1::controller_message::Kind;
use linkerd_harness_api::v1::health_ack::Outcome;
use linkerd_harness_api::v1::health_report::State;
use linkerd_harness_api::v1::registration_client::RegistrationClient;
use linkerd_harness_api::v1::{self, harness_message};
use rand::Rng as _;
use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Request, Status, Streaming};
use tonic_types::StatusExt as _;

use crate::fleet::Plan;
use crate::seen::{Seen, one_more};
use crate::way::Way;

/// The bit of a heartbeat that is the controller's question.
const QUESTION: u64 = 1 << 63;
/// Unless the assignment says otherwise.
const HEARTBEAT: Duration = Duration::from_secs(30);
/// Pauses between tries that nobody has asked for, from and up to.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A stream on which nothing comes for so long is not waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a VM is told to do.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Order {
    /// Reports this from now on.
    Report(State),
}

/// A VM.
#[derive(Debug)]
pub(crate) struct Vm {
    number: u32,
    session_id: [u8; 16],
    group: v1::GroupRef,
    heartbeat: Option<Duration>,
    way: Way,
    seen: Seen,
    orders: mpsc::UnboundedReceiver<Order>,
    streams: u64,
    reports: u64,
    state: State,
    /// When the report was made that is not persisted yet.
    reported: Option<Instant>,
    was_assigned: bool,
}

/// An open stream.
#[derive(Debug)]
struct Stream {
    say: mpsc::UnboundedSender<v1::HarnessMessage>,
    hear: Streaming<v1::ControllerMessage>,
    /// What was assigned on it.
    uid: String,
    beats: Interval,
    beat: u64,
    seen: Seen,
    assigned: Option<Assigned>,
}

/// Counts as an open stream as long as it is there.
#[derive(Debug)]
struct Assigned(Seen);

/// Why a stream is left.
enum End {
    /// It ended, and there is another one to be opened after this time.
    Again(Duration),
    /// It goes on until there is another one, which is to be opened after this time.
    Elsewhere(Duration),
    /// Nobody is left who could give orders.
    Over,
}

// === impl Vm ===

impl Vm {
    pub(crate) fn new(
        plan: &Plan,
        number: u32,
        way: Way,
        seen: Seen,
        orders: mpsc::UnboundedReceiver<Order>,
    ) -> Self {
        Self {
            number,
            session_id: rand::rng().random(),
            group: v1::GroupRef {
                namespace: plan.group.0.clone(),
                name: plan.group.1.clone(),
            },
            heartbeat: plan.heartbeat,
            way,
            seen,
            orders,
            streams: 0,
            reports: 1,
            state: State::Starting,
            reported: None,
            was_assigned: false,
        }
    }

    /// Lives until nobody is left who could give orders.
    pub(crate) async fn live(mut self, begin: Duration) {
        tokio::time::sleep(begin).await;
        let begun = Instant::now();
        let mut pause = FIRST_PAUSE;
        let mut old = None;
        loop {
            let (wait, asked) = match self.open().await {
                Ok(mut stream) => {
                    pause = FIRST_PAUSE;
                    drop(old.take());
                    if !self.was_assigned {
                        self.was_assigned = true;
                        self.seen.joined(begun.elapsed());
                    }
                    match self.follow(&mut stream).await {
                        End::Again(wait) => (wait, true),
                        End::Elsewhere(wait) => {
                            old = Some(stream);
                            (wait, true)
                        }
                        End::Over => return,
                    }
                }
                Err(status) => match self.refused(&status) {
                    Some(wait) => (wait, true),
                    None => (pause.mul_f64(rand::rng().random()), false),
                },
            };
            if !asked {
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            tokio::time::sleep(wait).await;
        }
    }

    /// A stream that is assigned.
    async fn open(&mut self) -> Result<Stream, Status> {
        self.streams += 1;
        self.seen.count(|counts| counts.hellos += 1);
        let (say, said) = mpsc::unbounded_channel();
        let hello = harness_message::Kind::Hello(self.hello());
        // Who says it is us as well.
        drop(say.send(message(hello)));
        let mut request = Request::new(UnboundedReceiverStream::new(said));
        let identity = self.way.identity.clone();
        request.metadata_mut().insert("l5d-client-id", identity);
        let mut client = RegistrationClient::new(self.way.channel());
        let opened = tokio::time::timeout(PATIENCE, client.session(request)).await;
        let hear = opened.map_err(|_elapsed| Status::deadline_exceeded("no answer"))??;
        let mut stream = Stream {
            say,
            hear: hear.into_inner(),
            uid: String::new(),
            beats: beats(HEARTBEAT),
            beat: 0,
            seen: self.seen.clone(),
            assigned: None,
        };
        loop {
            match next(&mut stream.hear).await? {
                Kind::Assignment(assignment) => {
                    stream.assigned = Some(Assigned::new(&self.seen));
                    self.assigned(&mut stream, assignment);
                    return Ok(stream);
                }
                Kind::Pending(pending) => {
                    let reason = pending.reason;
                    self.seen
                        .count(|counts| one_more(&mut counts.pending, &reason));
                }
                Kind::Heartbeat(beat) => stream.heartbeat(beat),
                // Of a report that it has not made.
                Kind::HealthAck(_) => {}
                Kind::GoAway(_) => return Err(Status::unavailable("sent away")),
            }
        }
    }

    /// Does what is asked on the stream until it ends.
    async fn follow(&mut self, stream: &mut Stream) -> End {
        loop {
            tokio::select! {
                heard = next(&mut stream.hear) => match heard {
                    Ok(Kind::Assignment(assignment)) => self.assigned(stream, assignment),
                    Ok(Kind::HealthAck(ack)) => self.acknowledged(&ack),
                    Ok(Kind::Heartbeat(beat)) => stream.heartbeat(beat),
                    Ok(Kind::Pending(pending)) => {
                        let reason = pending.reason;
                        self.seen.count(|counts| one_more(&mut counts.pending, &reason));
                    }
                    Ok(Kind::GoAway(away)) => {
                        self.seen.count(|counts| one_more(&mut counts.sent_away, &away.reason));
                        if away.reconnect {
                            let within = duration(away.within).unwrap_or_default();
                            return End::Elsewhere(within.mul_f64(rand::rng().random()));
                        }
                    }
                    Err(status) => {
                        let wait = self.refused(&status);
                        return End::Again(wait.unwrap_or(FIRST_PAUSE));
                    }
                },
                _ = stream.beats.tick() => {
                    stream.beat += 1;
                    stream.say(harness_message::Kind::Heartbeat(v1::Heartbeat { seq: stream.beat }));
                }
                order = self.orders.recv() => match order {
                    Some(Order::Report(state)) => {
                        self.report(stream, state);
                        self.seen.count(|counts| counts.orders[1] += 1);
                    }
                    None => return End::Over,
                },
            }
        }
    }

    fn assigned(&mut self, stream: &mut Stream, assignment: v1::Assignment) {
        let workload = assignment.workload.unwrap_or_default();
        stream.uid = workload.uid;
        let timing = assignment.timing.unwrap_or_default();
        let interval = self.heartbeat.or(duration(timing.heartbeat));
        stream.beats = beats(interval.unwrap_or(HEARTBEAT));
        let ack = v1::ConfigAck {
            config_hash: assignment.config_hash,
            outcome: v1::config_ack::Outcome::Applied.into(),
            message: String::new(),
        };
        stream.say(harness_message::Kind::ConfigAck(ack));
        if self.state == State::Starting {
            self.report(stream, State::Healthy);
        } else if self.reported.is_some() {
            let report = self.health(&stream.uid);
            stream.say(harness_message::Kind::Health(report));
        }
    }

    fn report(&mut self, stream: &Stream, state: State) {
        if self.reported.is_none() && self.reports > 1 {
            self.seen.count(|counts| counts.settled -= 1);
        }
        self.state = state;
        self.reports += 1;
        self.reported = Some(Instant::now());
        stream.say(harness_message::Kind::Health(self.health(&stream.uid)));
    }

    fn acknowledged(&mut self, ack: &v1::HealthAck) {
        let persisted = ack.outcome() == Outcome::Persisted;
        let index = match ack.outcome() {
            Outcome::Persisted => 0,
            Outcome::Queued => 1,
            Outcome::Stale | Outcome::Unspecified => 2,
        };
        self.seen.count(|counts| counts.acks[index] += 1);
        if ack.seq == self.reports
            && persisted
            && let Some(at) = self.reported.take()
        {
            self.seen.flipped(at.elapsed());
            self.seen.count(|counts| counts.settled += 1);
        }
    }

    /// Counts why a stream has ended; answers when to come again, if that was said.
    fn refused(&self, status: &Status) -> Option<Duration> {
        let reason = status.get_details_error_info().map(|info| info.reason);
        let reason = reason.unwrap_or_else(|| format!("{:?}: {}", status.code(), status.message()));
        self.seen
            .count(|counts| one_more(&mut counts.refused, &reason));
        status.get_details_retry_info()?.retry_delay
    }

    fn hello(&self) -> v1::Hello {
        let [_, a, b, c] = self.number.to_be_bytes();
        let mut instance_id = vec![0; 32];
        for (to, from) in instance_id.iter_mut().zip(self.number.to_be_bytes()) {
            *to = from;
        }
        v1::Hello {
            group: Some(self.group.clone()),
            instance_id,
            boot_id: vec![1; 16],
            session_id: self.session_id.to_vec(),
            stream_seq: self.streams,
            ips: vec![format!("10.{a}.{b}.{c}")],
            proxy_inbound_port: 4143,
            health: Some(self.health("")),
            build: Some(v1::BuildInfo {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                hostname: format!("load-{}", self.number),
                ..v1::BuildInfo::default()
            }),
            capabilities: vec![CAPABILITY_PENDING.to_owned()],
            ..v1::Hello::default()
        }
    }

    fn health(&self, uid: &str) -> v1::HealthReport {
        let (reason, message) = match self.state {
            State::Healthy => ("ProbeSucceeded", "GET http://127.0.0.1:80/: 200"),
            State::Unhealthy => ("ProbeFailed", "GET http://127.0.0.1:80/: 503"),
            State::Draining => ("Draining", ""),
            State::Starting | State::Unspecified => ("Starting", ""),
        };
        v1::HealthReport {
            seq: self.reports,
            state: self.state.into(),
            reason: reason.to_owned(),
            message: message.to_owned(),
            observed_at: None,
            workload_uid: uid.to_owned(),
        }
    }
}

// === impl Stream ===

impl Stream {
    fn say(&self, kind: harness_message::Kind) {
        // A stream that has ended says so to who reads it.
        drop(self.say.send(message(kind)));
    }

    fn heartbeat(&self, beat: v1::Heartbeat) {
        if beat.seq & QUESTION == 0 {
            self.seen.count(|counts| counts.heartbeats += 1);
        } else {
            self.seen.count(|counts| counts.questions += 1);
            self.say(harness_message::Kind::Heartbeat(beat));
        }
    }
}

// === impl Assigned ===

impl Assigned {
    fn new(seen: &Seen) -> Self {
        seen.count(|counts| {
            counts.assigned += 1;
            counts.open += 1;
        });
        Self(seen.clone())
    }
}

impl Drop for Assigned {
    fn drop(&mut self) {
        self.0.count(|counts| counts.open -= 1);
    }
}

/// The next message.
async fn next(hear: &mut Streaming<v1::ControllerMessage>) -> Result<Kind, Status> {
    match hear.message().await? {
        Some(message) => message
            .kind
            .ok_or_else(|| Status::internal("a message of an unknown kind")),
        None => Err(Status::cancelled("ended well")),
    }
}

fn message(kind: harness_message::Kind) -> v1::HarnessMessage {
    v1::HarnessMessage { kind: Some(kind) }
}

/// At moments of their own: not those of all others.
fn beats(interval: Duration) -> Interval {
    let first = interval.mul_f64(rand::rng().random());
    let mut beats = interval_at(Instant::now() + first, interval);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    beats
}

fn duration(wire: Option<prost_types::Duration>) -> Option<Duration> {
    Duration::try_from(wire?).ok()
}
