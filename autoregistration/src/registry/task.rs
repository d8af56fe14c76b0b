//! The task that owns the [`Registry`]: gives it events and the time, carries out its effects, publishes its state.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use linkerd_harness_api::v1::{ControllerMessage, harness_message};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tonic::Status;
use tracing::warn;

use super::hello::Hello;
use super::objects::Objects;
use super::{Effect, Event, Registry, StreamId, Verdict};
use crate::identity::SpiffeId;
use crate::manifests::Manifests;
use crate::metrics::Metrics;
use crate::registration::status;
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
    /// We are going down: harnesses are told, then the task ends.
    Shutdown,
}

/// The task.
#[derive(Debug)]
pub struct Task {
    registry: Registry,
    started: Instant,
    commands: mpsc::Receiver<Command>,
    manifests: watch::Receiver<Arc<Manifests>>,
    anchors: watch::Receiver<Arc<str>>,
    outboxes: BTreeMap<StreamId, Outbox>,
    view: watch::Sender<Arc<View>>,
    objects: watch::Sender<Arc<Objects>>,
    metrics: Metrics,
}

/// What the task needs and does not own.
#[derive(Debug)]
pub struct Inputs {
    /// Requests.
    pub commands: mpsc::Receiver<Command>,
    /// The desired state.
    pub manifests: watch::Receiver<Arc<Manifests>>,
    /// Trust anchors of the mesh, PEM.
    pub anchors: watch::Receiver<Arc<str>>,
    /// Counters.
    pub metrics: Metrics,
}

// === impl Task ===

impl Task {
    /// The task and what it publishes.
    pub fn new(
        mesh: super::Mesh,
        mut inputs: Inputs,
    ) -> (
        Self,
        watch::Receiver<Arc<View>>,
        watch::Receiver<Arc<Objects>>,
    ) {
        let manifests = Arc::clone(&inputs.manifests.borrow_and_update());
        let anchors = Arc::clone(&inputs.anchors.borrow_and_update());
        let registry = Registry::new(mesh, manifests, anchors);
        let first = Arc::new(registry.view());
        let (objects, objects_receiver) =
            watch::channel(Arc::new(registry.objects(Arc::clone(&first))));
        let (view, view_receiver) = watch::channel(first);
        let task = Self {
            registry,
            started: Instant::now(),
            commands: inputs.commands,
            manifests: inputs.manifests,
            anchors: inputs.anchors,
            outboxes: BTreeMap::new(),
            view,
            objects,
            metrics: inputs.metrics,
        };
        (task, view_receiver, objects_receiver)
    }

    /// Runs until it is told to shut down, or nobody is left who could ask it anything.
    pub async fn run(mut self) {
        loop {
            let due = self.registry.next_due();
            let at = due.map(|due| self.started + due);
            let event = tokio::select! {
                command = self.commands.recv() => match command {
                    Some(Command::Shutdown) | None => break,
                    Some(command) => self.event(command),
                },
                Ok(()) = self.manifests.changed() => {
                    Some(Event::Manifests(Arc::clone(&self.manifests.borrow_and_update())))
                }
                Ok(()) = self.anchors.changed() => {
                    Some(Event::Anchors(Arc::clone(&self.anchors.borrow_and_update())))
                }
                () = sleep_until(at) => Some(Event::Tick),
            };
            if let Some(event) = event {
                self.handle(event);
            }
        }
        self.handle(Event::Shutdown);
    }

    fn event(&mut self, command: Command) -> Option<Event> {
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
                // One that has hung up needs no answer.
                drop(reply.send(self.registry.check(&caller, &hello)));
                None
            }
            Command::Shutdown => Some(Event::Shutdown),
        }
    }

    fn handle(&mut self, event: Event) {
        let mut effects = self.registry.handle(self.started.elapsed(), event);
        while !effects.is_empty() {
            let mut stuck = Vec::new();
            for effect in effects.drain(..) {
                match effect {
                    Effect::Send(stream, kind) => {
                        let message = Ok(ControllerMessage { kind: Some(*kind) });
                        if self
                            .outboxes
                            .get(&stream)
                            .is_some_and(|outbox| outbox.try_send(message).is_err())
                        {
                            stuck.push(stream);
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
                }
            }
            // Either gone, which its own end will tell, or it does not read.
            for stream in stuck {
                if let Some(outbox) = self.outboxes.remove(&stream)
                    && !outbox.is_closed()
                {
                    warn!(stream, "session ended, its harness does not read");
                }
                effects.extend(
                    self.registry
                        .handle(self.started.elapsed(), Event::Closed { stream }),
                );
            }
        }
        self.publish();
    }

    fn publish(&self) {
        let view = self.registry.view();
        self.view.send_if_modified(|current| {
            let changed = **current != view;
            if changed {
                *current = Arc::new(view);
            }
            changed
        });
        let objects = self.registry.objects(Arc::clone(&self.view.borrow()));
        self.objects.send_if_modified(|current| {
            let changed = **current != objects;
            if changed {
                *current = Arc::new(objects);
            }
            changed
        });
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
