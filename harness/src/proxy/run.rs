//! One life of the child, from spawn to exit.

use std::time::{Duration, SystemTime};

use linkerd_harness_core::config::Config;
use linkerd_harness_core::truth::{Verdict, judge};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, info, warn};

use super::admin::Admin;
use super::pulse::{self, Lost};
use super::state::{Failure, Reason, State};
use super::words::Seen;
use super::{Launch, Orders, Timing, spawn};

mod ending;

/// A proxy that has served is allowed this many unanswered looks in a row: a busy host is no reason to take its
/// redirection away.
const UNANSWERED: u32 = 3;

/// How one life ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// It was told to.
    Stopped,
    /// By itself, or it had to be killed.
    Failed {
        failure: Failure,
        /// How long it served at the last.
        served: Duration,
    },
}

/// One life of the child.
#[derive(Debug)]
pub(super) struct Run<'a> {
    config: &'a Config,
    timing: &'a Timing,
    launch: &'a Launch,
    state: &'a watch::Sender<State>,
    seen: Seen,
    /// Whether it ever had a certificate: from then on it has something to finish.
    certified: bool,
    /// Since when it serves without a break.
    serving: Option<(SystemTime, Instant)>,
    has_served: bool,
    reaches_control_plane: bool,
    unanswered: u32,
    false_ready: Option<Instant>,
    started: Instant,
}

// === impl Run ===

impl<'a> Run<'a> {
    pub(super) fn new(
        config: &'a Config,
        timing: &'a Timing,
        launch: &'a Launch,
        state: &'a watch::Sender<State>,
    ) -> Self {
        Self {
            config,
            timing,
            launch,
            state,
            seen: Seen::default(),
            certified: false,
            serving: None,
            has_served: false,
            reaches_control_plane: false,
            unanswered: 0,
            false_ready: None,
            started: Instant::now(),
        }
    }

    /// Starts the child and stays until it has ended.
    pub(super) async fn run(mut self, orders: &mut Orders) -> Ended {
        let (mut child, mut output) = match spawn::spawn(self.launch) {
            Ok(spawned) => spawned,
            Err(failure) => return self.failed(failure),
        };
        let pid = child.id().unwrap_or_default();
        info!(pid, program = %self.launch.program.display(), "proxy started");
        self.publish(State::Starting {
            pid,
            verdict: Verdict::NotListening,
            version: None,
        });
        let admin = || {
            let (admin, inbound) = (
                self.config.proxy.admin_listen,
                self.config.proxy.inbound_listen,
            );
            Admin::new(admin, inbound, self.timing.look_timeout)
        };
        let inbound_port = self.config.proxy.inbound_listen.port();
        let pulse = || pulse::lost(admin(), pid, inbound_port, self.timing);
        let mut looking = Box::pin(admin().look(self.timing.look_starting));
        let mut beating = Box::pin(pulse());
        let mut give_up: Option<(Instant, Reason)> = None;
        loop {
            let deadline = give_up.as_ref().map(|(at, _)| *at);
            tokio::select! {
                biased;
                () = orders.other_than(self.launch) => {
                    self.stop(pid, child, output).await;
                    return Ended::Stopped;
                }
                status = child.wait() => {
                    self.read_to_end(&mut output).await;
                    return self.explain(status).await;
                }
                () = at(deadline) => {
                    let reason = give_up.map_or(Reason::Exited, |(_, reason)| reason);
                    return self.kill(child, output, reason).await;
                }
                (admin, mut seen) = &mut looking => {
                    seen.said_certified = self.seen.certified;
                    self.certified |= seen.metrics.as_ref().is_some_and(|m| m.refreshes > 0);
                    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
                    let verdict = judge(&seen, now.unwrap_or_default());
                    debug!(?verdict, "looked at the proxy");
                    if self.serving.is_none() {
                        // Its clock stood still while nobody asked.
                        beating.set(pulse());
                    }
                    self.judged(pid, verdict);
                    if self.false_ready.is_some_and(|since| since.elapsed() >= self.timing.false_ready) {
                        return self.kill(child, output, Reason::FalseReady).await;
                    }
                    looking.set(admin.look(self.until_next_look()));
                }
                lost = &mut beating, if self.serving.is_some() => match lost {
                    Lost::Port => self.judged(pid, Verdict::NotListening),
                    Lost::Process => self.stands_still(pid),
                },
                Some(line) = output.next() => {
                    line.log();
                    self.seen.take(&line);
                    self.certified |= self.seen.certified;
                    if self.seen.panicked && !self.certified && give_up.is_none() {
                        // It would stay and claim to be ready. If its main thread panicked it ends by itself.
                        give_up = Some((Instant::now() + self.timing.panic, Reason::Panicked));
                    }
                }
            }
        }
    }

    /// Nothing to wait for: it does not even try to answer.
    fn stands_still(&mut self, pid: u32) {
        self.unanswered = UNANSWERED;
        self.judged(pid, Verdict::NotReady);
    }

    fn until_next_look(&self) -> Duration {
        if self.has_served && self.reaches_control_plane {
            self.timing.look_serving
        } else if self.started.elapsed() < self.timing.slow_start {
            self.timing.look_starting
        } else {
            self.timing.look_slow
        }
    }

    /// Turns a verdict into the state.
    fn judged(&mut self, pid: u32, verdict: Verdict) {
        self.unanswered = if verdict == Verdict::NotReady {
            self.unanswered + 1
        } else {
            0
        };
        if verdict == Verdict::FalseReady {
            self.false_ready.get_or_insert_with(Instant::now);
        } else {
            self.false_ready = None;
        }
        if verdict.serves() {
            let first = !self.has_served;
            let (since, _) = *self
                .serving
                .get_or_insert_with(|| (SystemTime::now(), Instant::now()));
            self.has_served = true;
            self.certified = true;
            let control_plane = verdict.reaches_control_plane();
            self.reaches_control_plane = control_plane;
            let before = self.publish(State::Serving {
                pid,
                since,
                control_plane,
                unseen: verdict == Verdict::ServingUnseen,
                version: self.seen.version.clone(),
            });
            self.log_serving(pid, first, control_plane, before.as_ref());
        } else if !self.has_served {
            self.publish(State::Starting {
                pid,
                verdict,
                version: self.seen.version.clone(),
            });
        } else if verdict != Verdict::NotReady || self.unanswered >= UNANSWERED {
            self.serving = None;
            let state = State::NotServing { pid, verdict };
            let message = state.report().message;
            if self.publish(state).is_some() {
                warn!("{message}");
            }
        }
    }

    fn log_serving(&self, pid: u32, first: bool, control_plane: bool, before: Option<&State>) {
        let Some(before) = before else { return };
        match (before, control_plane) {
            (
                State::Serving {
                    control_plane: true,
                    ..
                },
                false,
            ) => warn!("proxy lost the policy controller"),
            (
                State::Serving {
                    control_plane: false,
                    ..
                },
                true,
            ) => info!("proxy reaches the policy controller"),
            (State::Serving { .. }, _) => {}
            _ if first => {
                info!(pid, control_plane, after = ?self.started.elapsed(), "proxy serves");
            }
            _ => info!(pid, control_plane, "proxy serves again"),
        }
    }

    /// Tells the others, unless nothing changed. Returns what was told before.
    fn publish(&self, state: State) -> Option<State> {
        let mut before = None;
        self.state.send_if_modified(|present| {
            let changed = *present != state;
            if changed {
                before = Some(std::mem::replace(present, state));
            }
            changed
        });
        before
    }
}

async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
