//! The task that owns the [`Registry`]: gives it events and the time, carries out its effects, publishes its state.

mod command;
mod effects;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{AskId, Census, Claim, Claimed, Event, Registry, Replicas, StreamId};
use crate::balance::Loads;
use crate::kubernetes::events::Events;
use crate::linkerd::Settings;
use crate::manifests::Manifests;
use crate::metrics::Metrics;
use crate::peer;
use crate::store::memory::Memory;
use crate::store::{News, Wish};
use crate::view::View;
pub use command::{Command, Outbox, ask};

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
