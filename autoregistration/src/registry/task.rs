//! The task that owns the [`Registry`]: gives it events and the time, carries out its effects, publishes its state.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use linkerd_harness_api::v1::{ControllerMessage, harness_message};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tonic::Status;
use tracing::warn;

use super::group_totals::GroupTotals;
use super::hello::Hello;
use super::objects::{Objects, Totals};
use super::{
    AskId, Census, Claim, Claimed, Effect, Event, Notice, Registry, Replicas, StreamId, Verdict,
};
use crate::balance::Loads;
use crate::identity::SpiffeId;
use crate::kubernetes::events::Events;
use crate::linkerd::Settings;
use crate::manifests::Manifests;
use crate::metrics::Metrics;
use crate::peer;
use crate::registration::status;
use crate::store::memory::Memory;
use crate::store::{Key, News, Wish};
use crate::view::View;

/// Where the messages to one harness go. Bounded: one that does not read is ended and never holds up the others.
pub type Outbox = mpsc::Sender<Result<ControllerMessage, Status>>;

/// A request to the task. Those who ask wait when it has more to do than it can.
#[derive(Debug)]
pub enum Command {
    /// A stream began.
    Open {
        /// Number of the stream, never used before.
        stream: StreamId,
        /// Who it is.
        caller: SpiffeId,
        /// What it said.
        hello: Box<Hello>,
        /// Where to answer.
        outbox: Outbox,
    },
    /// Something was said on a stream.
    Heard {
        /// The stream.
        stream: StreamId,
        /// What.
        message: Option<Box<harness_message::Kind>>,
    },
    /// A stream ended.
    Closed {
        /// The stream.
        stream: StreamId,
    },
    /// What would become of this `Hello`?
    Check {
        /// Who asks.
        caller: SpiffeId,
        /// What it would say.
        hello: Box<Hello>,
        /// Where to answer.
        reply: oneshot::Sender<Verdict>,
    },
    /// What is the state, in full?
    Objects {
        /// Where to answer.
        reply: oneshot::Sender<Objects>,
    },
    /// How much is there of everything?
    Totals {
        /// Where to answer.
        reply: oneshot::Sender<Totals>,
    },
    /// How far has each group come?
    Groups {
        /// Where to answer.
        reply: oneshot::Sender<BTreeMap<Key, GroupTotals>>,
    },
    /// Which VMs have a stream here?
    Digest {
        /// Where to answer.
        reply: oneshot::Sender<Vec<[u8; 16]>>,
    },
    /// Another replica has this VM. The answer may take [`CHALLENGE`](super::CHALLENGE).
    Claim {
        /// What it has.
        claim: Claim,
        /// Where to answer.
        reply: oneshot::Sender<Claimed>,
    },
    /// Answered when the store has told of all that is there.
    Settled {
        /// Where to answer.
        reply: oneshot::Sender<()>,
    },
    /// We will go down: harnesses are asked to go elsewhere.
    Depart {
        /// They go one after the other within this time.
        within: Duration,
        /// Told when the last of them has gone.
        left: oneshot::Sender<()>,
    },
    /// We are going down: harnesses are told, then the task ends.
    Shutdown,
}

/// Where workloads are kept.
#[derive(Debug)]
pub enum Link {
    /// In this process.
    Memory(Memory),
    /// Elsewhere.
    Remote {
        /// Takes wishes, and never makes us wait.
        wishes: mpsc::UnboundedSender<Wish>,
        /// What is there.
        news: mpsc::Receiver<News>,
    },
}

/// The other replicas.
pub struct Others {
    /// Asks all of them whether one has this VM.
    pub claim: Box<dyn Fn(Claim) -> BoxFuture<'static, Claimed> + Send + Sync>,
    /// Whether it is for us to say that VMs are lost.
    pub leading: watch::Receiver<bool>,
    /// Whom they have, now and then while we lead.
    pub census: mpsc::Receiver<peer::census::Census>,
    /// How many they have, now and then while all of them are known.
    pub loads: mpsc::Receiver<Loads>,
    /// What people are told of on the objects concerned.
    pub events: Events,
}

/// The task.
#[derive(Debug)]
pub struct Task {
    registry: Registry,
    started: Instant,
    commands: mpsc::Receiver<Command>,
    manifests: watch::Receiver<Arc<Manifests>>,
    settings: watch::Receiver<Arc<Settings>>,
    store: Link,
    others: Option<Others>,
    outboxes: BTreeMap<StreamId, Outbox>,
    /// Our claims, on their way through the other replicas.
    claims: JoinSet<(StreamId, Claimed)>,
    /// Replicas that asked us, by their question.
    asks: BTreeMap<AskId, oneshot::Sender<Claimed>>,
    asked: AskId,
    /// Whether the store has told of all that is there, and who waits for that.
    listed: bool,
    settled: Vec<oneshot::Sender<()>>,
    /// Who waits for the last harness to go.
    left: Option<oneshot::Sender<()>>,
    view: watch::Sender<Arc<View>>,
    metrics: Metrics,
}

/// What the task needs and does not own.
#[derive(Debug)]
pub struct Inputs {
    /// Requests.
    pub commands: mpsc::Receiver<Command>,
    /// The desired state.
    pub manifests: watch::Receiver<Arc<Manifests>>,
    /// Settings of the mesh.
    pub settings: watch::Receiver<Arc<Settings>>,
    /// Where workloads are kept.
    pub store: Link,
    /// The other replicas; `None` when there is but one, now and ever.
    pub others: Option<Others>,
    /// Counters.
    pub metrics: Metrics,
}

// === impl Others ===

impl std::fmt::Debug for Others {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Others")
            .field("leading", &self.leading)
            .finish_non_exhaustive()
    }
}

// === impl Task ===

impl Task {
    /// The task, and the mesh as it publishes it when it is the only replica.
    pub fn new(rules: super::Rules, mut inputs: Inputs) -> (Self, watch::Receiver<Arc<View>>) {
        let manifests = Arc::clone(&inputs.manifests.borrow_and_update());
        let settings = Arc::clone(&inputs.settings.borrow_and_update());
        let replicas = match inputs.others {
            Some(_) => Replicas::Several,
            None => Replicas::One,
        };
        let listed = matches!(inputs.store, Link::Memory(_));
        let registry = Registry::new(rules, replicas, manifests, settings);
        let (view, view_receiver) = watch::channel(Arc::new(registry.view()));
        let task = Self {
            registry,
            started: Instant::now(),
            commands: inputs.commands,
            manifests: inputs.manifests,
            settings: inputs.settings,
            store: inputs.store,
            others: inputs.others,
            outboxes: BTreeMap::new(),
            claims: JoinSet::new(),
            asks: BTreeMap::new(),
            asked: 0,
            listed,
            settled: Vec::new(),
            left: None,
            view,
            metrics: inputs.metrics,
        };
        (task, view_receiver)
    }

    /// Runs until it is told to shut down, or nobody is left who could ask it anything.
    pub async fn run(mut self) {
        loop {
            let at = self.due().map(|due| self.started + due);
            let event = tokio::select! {
                command = self.commands.recv() => match command {
                    Some(Command::Shutdown) | None => break,
                    Some(command) => self.event(command),
                },
                Some(news) = news(&mut self.store) => {
                    self.listed = self.listed || matches!(news, News::All(_));
                    Some(Event::News(news))
                }
                Ok(()) = self.manifests.changed() => {
                    Some(Event::Manifests(Arc::clone(&self.manifests.borrow_and_update())))
                }
                Ok(()) = self.settings.changed() => {
                    Some(Event::Settings(Arc::clone(&self.settings.borrow_and_update())))
                }
                Some(event) = told(&mut self.others) => Some(event),
                Some(Ok((stream, claimed))) = self.claims.join_next() => {
                    Some(Event::Claimed { stream, claimed })
                }
                () = sleep_until(at) => Some(Event::Tick),
            };
            if let Some(event) = event {
                self.handle(event);
            }
            self.tell_settled();
            if self.outboxes.is_empty()
                && let Some(left) = self.left.take()
            {
                let _nobody = left.send(());
            }
        }
        self.handle(Event::Shutdown);
    }

    fn tell_settled(&mut self) {
        if self.listed {
            for reply in self.settled.drain(..) {
                let _nobody = reply.send(());
            }
        }
    }

    fn due(&self) -> Option<Duration> {
        let store = match &self.store {
            Link::Memory(memory) => memory.due(),
            Link::Remote { .. } => None,
        };
        self.registry.next_due().into_iter().chain(store).min()
    }

    fn event(&mut self, command: Command) -> Option<Event> {
        // Those who have hung up need no answer.
        match command {
            Command::Open {
                stream,
                caller,
                hello,
                outbox,
            } => {
                self.outboxes.insert(stream, outbox);
                Some(Event::Opened {
                    stream,
                    caller,
                    hello,
                })
            }
            Command::Heard { stream, message } => Some(Event::Heard { stream, message }),
            Command::Closed { stream } => {
                self.outboxes.remove(&stream);
                Some(Event::Closed { stream })
            }
            Command::Check {
                caller,
                hello,
                reply,
            } => {
                drop(reply.send(self.registry.check(&caller, &hello)));
                None
            }
            Command::Objects { reply } => {
                drop(reply.send(self.registry.objects()));
                None
            }
            Command::Totals { reply } => {
                let _hung_up = reply.send(self.registry.totals());
                None
            }
            Command::Groups { reply } => {
                drop(reply.send(self.registry.group_totals()));
                None
            }
            Command::Digest { reply } => {
                drop(reply.send(self.registry.digest()));
                None
            }
            Command::Claim { claim, reply } => {
                self.asked += 1;
                self.asks.insert(self.asked, reply);
                Some(Event::Asked {
                    ask: self.asked,
                    claim,
                })
            }
            Command::Settled { reply } => {
                self.settled.push(reply);
                self.tell_settled();
                None
            }
            Command::Depart { within, left } => {
                self.left = Some(left);
                Some(Event::Depart { within })
            }
            Command::Shutdown => Some(Event::Shutdown),
        }
    }

    fn handle(&mut self, event: Event) {
        let now = self.started.elapsed();
        let mut effects = VecDeque::from(self.registry.handle(now, event));
        if let Link::Memory(memory) = &mut self.store {
            for news in memory.remove(now) {
                effects.extend(self.registry.handle(now, Event::News(news)));
            }
        }
        while let Some(effect) = effects.pop_front() {
            for event in self.carry_out(effect) {
                effects.extend(self.registry.handle(self.started.elapsed(), event));
            }
        }
        if self.registry.take_changed() && self.others.is_none() {
            self.view.send_if_modified(|current| {
                let view = self.registry.view();
                let changed = **current != view;
                if changed {
                    *current = Arc::new(view);
                }
                changed
            });
        }
    }

    /// Does it; answers with what happens by that.
    fn carry_out(&mut self, effect: Effect) -> Vec<Event> {
        match effect {
            Effect::Send(stream, kind) => {
                let message = Ok(ControllerMessage { kind: Some(*kind) });
                let outbox = self.outboxes.get(&stream);
                if outbox.is_some_and(|outbox| outbox.try_send(message).is_err()) {
                    // Either gone, which its own end will tell, or it does not read.
                    if let Some(outbox) = self.outboxes.remove(&stream)
                        && !outbox.is_closed()
                    {
                        warn!(stream, "session ended, its harness does not read");
                    }
                    return vec![Event::Closed { stream }];
                }
            }
            Effect::End(stream, refusal) => {
                if let Some(outbox) = self.outboxes.remove(&stream)
                    && let Some(refusal) = refusal
                {
                    // A full outbox is closed without the reason.
                    drop(outbox.try_send(Err(status::from_refusal(&refusal))));
                }
            }
            Effect::Count(outcome) => self.metrics.hello(outcome),
            Effect::Wish(wish) => match &mut self.store {
                Link::Memory(memory) => {
                    let news = memory.wish(self.started.elapsed(), wish);
                    return news.into_iter().map(Event::News).collect();
                }
                // The store ends only with the process.
                Link::Remote { wishes, .. } => drop(wishes.send(wish)),
            },
            Effect::Claim(stream, claim) => {
                let Some(others) = &self.others else {
                    let claimed = Claimed::Free;
                    return vec![Event::Claimed { stream, claimed }];
                };
                let claimed = (others.claim)(claim);
                self.claims.spawn(async move { (stream, claimed.await) });
            }
            Effect::Notice(notice) => {
                if let Some(others) = &self.others {
                    let Notice {
                        regarding,
                        event,
                        message,
                    } = *notice;
                    others.events.publish(regarding, event, &message);
                }
            }
            Effect::SentAway(reason) => self.metrics.goaway(reason),
            Effect::Ended(reason) => self.metrics.session_end(reason),
            Effect::Acknowledged(outcome) => self.metrics.config_ack(outcome),
            Effect::Swept(outcome) => self.metrics.sweep(outcome),
            Effect::Answer(ask, claimed) => {
                if let Some(reply) = self.asks.remove(&ask) {
                    let _hung_up = reply.send(claimed);
                }
            }
        }
        Vec::new()
    }
}

/// What the registry answers; `None` when it has ended.
pub async fn ask<T>(
    registry: &mpsc::Sender<Command>,
    question: impl FnOnce(oneshot::Sender<T>) -> Command,
) -> Option<T> {
    let (reply, answer) = oneshot::channel();
    registry.send(question(reply)).await.ok()?;
    answer.await.ok()
}

async fn news(store: &mut Link) -> Option<News> {
    match store {
        Link::Memory(_) => std::future::pending().await,
        Link::Remote { news, .. } => news.recv().await,
    }
}

/// What the other replicas tell without being asked.
async fn told(others: &mut Option<Others>) -> Option<Event> {
    let Some(others) = others else {
        return std::future::pending().await;
    };
    tokio::select! {
        Ok(()) = others.leading.changed() => {
            Some(Event::Leading(*others.leading.borrow_and_update()))
        }
        Some(census) = others.census.recv() => Some(Event::Census(Census {
            complete: census.complete,
            present: census.present,
        })),
        Some(loads) = others.loads.recv() => Some(Event::Loads(loads)),
        else => None,
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
