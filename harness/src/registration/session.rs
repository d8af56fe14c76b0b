//! One stream to the controller, from `Hello` to its end.
//!
//! When it is to be renewed, it goes on until the VM is a member on another one, over a connection of its own: perhaps the
//! replica at its end is going down, and perhaps no other one takes us yet.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use linkerd_harness_api::v1::{
    self, HarnessMessage, controller_message::Kind as Heard, harness_message::Kind as Said,
};
use linkerd_harness_core::assignment::Assignment;
use linkerd_harness_core::health::{self, Health};
use rand::Rng;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{info, warn};

use super::messages::{ack, hello, report};
use super::opening::{ANSWER_TIMEOUT, Opened, Opening};
use super::{
    Begin, End, Inputs, LeaveMode, Phase, RETRY_MAX, RETRY_MIN, Reason, Refusal, State, assignment,
    store,
};
use crate::backoff::Backoff;
use crate::identity::Certified;

/// For the controller to take our goodbye.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(2);

/// Until the controller has told its own rhythm.
const FIRST_HEARTBEAT: Duration = Duration::from_secs(30);

/// Heartbeats in a row that may be missed.
const MISSED_HEARTBEATS: u32 = 3;

/// One session's memory.
struct Session<'a> {
    inputs: &'a mut Inputs,
    states: &'a watch::Sender<State>,
    assignments: &'a watch::Sender<Option<Arc<Assignment>>>,
    opened: Opened,
    /// Streams so far, this one included.
    streams: &'a mut u64,
    /// Health reports that were sent and not confirmed, oldest first.
    unconfirmed: Vec<(u64, Health)>,
    seq: u64,
    /// Of the last report.
    reported: (health::State, &'static str),
    heartbeat: Duration,
    last_heard: Instant,
    registered: bool,
}

/// Runs one session; tells whether it got as far as an assignment, and how it ended.
pub(super) async fn run(
    inputs: &mut Inputs,
    begin: Begin,
    streams: &mut u64,
    states: &watch::Sender<State>,
    assignments: &watch::Sender<Option<Arc<Assignment>>>,
) -> (bool, End) {
    let opened = match begin {
        Begin::On(opened) => *opened,
        Begin::As(certified) => {
            let opening = opening(inputs, certified, streams, assignments);
            match opening.open().await {
                Ok(opened) => opened,
                Err(refusal) => return (false, End::Lost(refusal)),
            }
        }
    };
    states.send_modify(|state| state.peer = Some(opened.peer));
    // What has changed since its `Hello` may have been told on an older stream only.
    inputs.health.mark_changed();
    let health = opened.health.clone();
    let mut session = Session {
        inputs,
        states,
        assignments,
        opened,
        streams,
        reported: (health.state, health.reason),
        unconfirmed: vec![(1, health)],
        seq: 1,
        heartbeat: FIRST_HEARTBEAT,
        last_heard: Instant::now(),
        registered: false,
    };
    let end = session.converse().await;
    (session.registered, end)
}

/// What the next stream is opened with.
fn opening(
    inputs: &Inputs,
    certified: Arc<Certified>,
    streams: &mut u64,
    assignments: &watch::Sender<Option<Arc<Assignment>>>,
) -> Opening {
    *streams += 1;
    let health = inputs.health.borrow().clone();
    Opening {
        config: Arc::clone(&inputs.config),
        certified,
        hello: hello(inputs, *streams, &health, assignments.borrow().as_deref()),
        health,
    }
}

impl Session<'_> {
    async fn converse(&mut self) -> End {
        let mut renewal = pin!(sleep_until(
            Instant::now() + renewal_after(&self.opened.certified)
        ));
        let mut next: Option<Joining> = None;
        let mut backoff = Backoff::new(RETRY_MIN, RETRY_MAX, 100);
        let mut next_beat = Instant::now() + self.heartbeat;
        loop {
            tokio::select! {
                biased;
                _ = self.inputs.leave.changed() => {
                    self.goodbye().await;
                    return End::Left;
                }
                message = self.opened.hear() => {
                    self.last_heard = Instant::now();
                    let message = match (message, next.take()) {
                        (Ok(message), joining) => {
                            next = joining;
                            message
                        }
                        (Err(status), None) => return End::Lost(self.opened.refusal(&status)),
                        // Most likely because the other one has taken its place.
                        (Err(_), Some(joining)) => return self.only(joining).await,
                    };
                    match message.kind {
                        Some(Heard::GoAway(go_away)) => {
                            let at = Instant::now() + moment_of(&go_away);
                            if at < renewal.deadline() {
                                renewal.as_mut().reset(at);
                            }
                        }
                        kind => if let Some(end) = self.hear(kind) {
                            return end;
                        }
                    }
                    next_beat = next_beat.min(Instant::now() + self.heartbeat);
                }
                changed = self.inputs.health.changed() => {
                    if changed.is_err() {
                        return End::Left;
                    }
                    let health = self.inputs.health.borrow_and_update().clone();
                    // Only transitions travel; other words for the same are for this host.
                    if (health.state, health.reason) == self.reported {
                        continue;
                    }
                    self.reported = (health.state, health.reason);
                    self.seq += 1;
                    let report = report(self.seq, &health);
                    self.unconfirmed.push((self.seq, health));
                    self.say(Said::Health(report)).await;
                }
                changed = self.inputs.identity.changed() => {
                    let next = self.inputs.identity.borrow_and_update().certified.clone();
                    let ours = &self.opened.certified.spiffe_id;
                    if changed.is_err() || next.is_some_and(|next| next.spiffe_id != *ours) {
                        return End::Renew;
                    }
                }
                () = sleep_until(next_beat) => {
                    if self.last_heard.elapsed() > self.heartbeat * MISSED_HEARTBEATS {
                        let silent = tonic::Status::unavailable("the controller is silent");
                        return End::Lost(self.opened.refusal(&silent));
                    }
                    self.say(Said::Heartbeat(v1::Heartbeat { seq: self.seq })).await;
                    next_beat = Instant::now() + self.heartbeat;
                }
                joined = joined(&mut next) => match joined {
                    Ok(opened) => return End::Moved(Box::new(opened)),
                    Err(refusal) => {
                        info!(reason = refusal.reason.as_str(), "no new session yet, this one goes on: {}", refusal.message);
                        next = None;
                        let wait = refusal.retry_after.unwrap_or_else(|| backoff.next_wait());
                        renewal.as_mut().reset(Instant::now() + wait);
                    }
                },
                // A connection outlives the SVID that it was opened with, so it is renewed in time.
                () = &mut renewal, if next.is_none() => {
                    let newest = self.inputs.identity.borrow().certified.clone();
                    let certified = newest.unwrap_or_else(|| Arc::clone(&self.opened.certified));
                    let opening = opening(self.inputs, certified, self.streams, self.assignments);
                    next = Some(Box::pin(opening.join()));
                }
            }
        }
    }

    /// Waits for the stream that is to take the place of this one, which is over.
    async fn only(&mut self, mut joining: Joining) -> End {
        let joined = tokio::select! {
            joined = &mut joining => Some(joined),
            _ = self.inputs.leave.changed() => {
                // Goodbye is said on the other one.
                self.inputs.leave.mark_changed();
                timeout(GOODBYE_TIMEOUT, joining).await.ok()
            }
        };
        match joined {
            Some(Ok(opened)) => End::Moved(Box::new(opened)),
            Some(Err(refusal)) => End::Lost(refusal),
            None => End::Left,
        }
    }

    /// Takes one message; answers how the session ends if it ends.
    fn hear(&mut self, message: Option<Heard>) -> Option<End> {
        match message {
            Some(Heard::Assignment(wire)) => self.assigned(wire),
            Some(Heard::HealthAck(ack)) => {
                self.confirm(&ack);
                None
            }
            Some(Heard::Pending(pending)) => {
                let refusal = Refusal::new(Reason::named(&pending.reason), pending.message);
                let news = !matches!(&self.states.borrow().phase, Phase::Pending(before) if *before == refusal);
                if news {
                    warn!(
                        reason = refusal.reason.as_str(),
                        "registration waits: {}", refusal.message
                    );
                    self.states
                        .send_modify(|state| state.phase = Phase::Pending(refusal));
                }
                None
            }
            // A question whether we are alive: is this machine's clone to be refused, or do we take over from the dead?
            Some(Heard::Heartbeat(question)) if question.seq >> 63 == 1 => {
                self.try_say(Said::Heartbeat(question));
                None
            }
            // Any other heartbeat only resets the clock; a kind that we do not know is of a newer protocol.
            Some(Heard::Heartbeat(_) | Heard::GoAway(_)) | None => None,
        }
    }

    fn assigned(&mut self, wire: v1::Assignment) -> Option<End> {
        let (hash, controller) = (wire.config_hash.clone(), wire.controller.clone());
        let next = match assignment::from_wire(wire) {
            Ok(next) => next,
            Err(error) => {
                self.try_say(Said::ConfigAck(ack(
                    hash,
                    v1::config_ack::Outcome::Rejected,
                    &error.to_string(),
                )));
                return Some(End::Lost(Refusal::new(
                    Reason::BadAssignment,
                    format!("autoregistration sent {error}"),
                )));
            }
        };
        self.heartbeat = next.timing.heartbeat;
        let held = self.assignments.borrow().clone();
        let older = held.as_ref().is_some_and(|held| {
            held.workload.uid == next.workload.uid && held.group_generation > next.group_generation
        });
        if older {
            self.try_say(Said::ConfigAck(ack(
                hash,
                v1::config_ack::Outcome::Deferred,
                "a newer one is in use",
            )));
            return None;
        }
        let name = format!("{}/{}", next.workload.namespace, next.workload.name);
        if !self.registered {
            info!(workload = %name, server_name = %next.workload.server_name, ips = ?next.workload.ips, %controller, "registered");
        }
        self.registered = true;
        let said = held.as_ref().map_or(&[][..], |held| &held.warnings);
        for warning in next.warnings.iter().filter(|it| !said.contains(it)) {
            warn!(workload = %name, "{warning}");
        }
        let warnings = next.warnings.clone();
        if held.as_deref() != Some(&next) {
            if let Err(error) = store::save(&self.inputs.store, &self.inputs.config.group, &next) {
                warn!(%error, "cannot keep the assignment in `{}`; after a reboot this VM waits for the controller", self.inputs.store.display());
            }
            self.assignments.send_replace(Some(Arc::new(next)));
        }
        self.try_say(Said::ConfigAck(ack(
            hash,
            v1::config_ack::Outcome::Applied,
            "",
        )));
        self.states.send_modify(|state| {
            state.phase = Phase::Registered {
                workload: name,
                controller,
                warnings,
            }
        });
        None
    }

    fn confirm(&mut self, ack: &v1::HealthAck) {
        let taken = matches!(
            ack.outcome(),
            v1::health_ack::Outcome::Persisted | v1::health_ack::Outcome::Queued
        );
        let position = self.unconfirmed.iter().position(|(seq, _)| *seq == ack.seq);
        if let Some(position) = position {
            let confirmed = self
                .unconfirmed
                .drain(..=position)
                .next_back()
                .map(|(_, health)| health);
            if taken {
                self.states.send_modify(|state| state.confirmed = confirmed);
            }
        }
    }

    /// Tells the controller what becomes of the workload, and waits a moment for it to end the stream.
    async fn goodbye(&mut self) {
        let mode = match *self.inputs.leave.borrow() {
            Some(LeaveMode::Remove) => v1::leave::Mode::Remove,
            Some(LeaveMode::Reboot) | None => v1::leave::Mode::Reboot,
        };
        self.say(Said::Leave(v1::Leave {
            mode: mode.into(),
            drain: None,
            reason: "Stopped".to_owned(),
        }))
        .await;
        let ended = self.opened.ended();
        if timeout(GOODBYE_TIMEOUT, ended).await.is_err() {
            warn!(
                "the controller did not take our goodbye; it will miss us and mark the workload itself"
            );
        }
    }

    /// Queues a message. A full queue means a dead peer, which the missing heartbeats show.
    async fn say(&self, kind: Said) {
        let message = HarnessMessage { kind: Some(kind) };
        if self
            .opened
            .outgoing
            .send_timeout(message, ANSWER_TIMEOUT)
            .await
            .is_err()
        {
            tracing::debug!("message not sent: the stream is over or does not move");
        }
    }

    fn try_say(&self, kind: Said) {
        if self
            .opened
            .outgoing
            .try_send(HarnessMessage { kind: Some(kind) })
            .is_err()
        {
            tracing::debug!("message not sent: the stream is over or does not move");
        }
    }
}

/// A stream that is to take the place of this one.
type Joining = Pin<Box<dyn Future<Output = Result<Opened, Refusal>> + Send>>;

async fn joined(next: &mut Option<Joining>) -> Result<Opened, Refusal> {
    match next {
        Some(joining) => joining.await,
        None => std::future::pending().await,
    }
}

/// When to open another session, within the time that the controller gives; until then this one goes on.
fn moment_of(go_away: &v1::GoAway) -> Duration {
    info!(reason = %go_away.reason, "the controller asks for a new session");
    let within = go_away.within.map(Duration::try_from);
    let within = within.and_then(Result::ok).unwrap_or_default();
    within.mul_f64(rand::rng().random())
}

/// Somewhere in the second half of the SVID's life that is left; SPIRE rotates it at the half.
fn renewal_after(certified: &Certified) -> Duration {
    let left = certified
        .not_after
        .duration_since(SystemTime::now())
        .unwrap_or_default();
    left.mul_f64(rand::rng().random_range(0.5..0.9))
}
