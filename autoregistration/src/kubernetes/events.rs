//! Kubernetes events about groups and workloads, for people. Never in the way of anything: what cannot be told soon is
//! dropped and counted. The audit log has all of it.

mod limit;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use self::limit::Limit;
use crate::metrics::Metrics;
use crate::report;

/// Events that wait.
const QUEUE: usize = 1000;
/// After each event, so that a fleet that comes at once leaves the API server to what counts.
const PAUSE: Duration = Duration::from_millis(100);
/// An event that takes longer has failed.
const REQUEST: Duration = Duration::from_secs(5);
/// A problem that repeats is said so often at first, then only to those who look closely.
const LOUD: u32 = 3;
/// Bytes of a message, as Kubernetes allows.
const LONGEST_MESSAGE: usize = 1024;

/// What an event is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Regarding {
    /// Which kind of object.
    pub kind: Kind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid, by which another object of that name is told apart.
    pub uid: String,
}

/// Kinds that events are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// An `ExternalGroup`.
    Group,
    /// An `ExternalWorkload`.
    Workload,
}

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// Of a group: a VM has joined for the first time.
    Registered,
    /// Of a group: a VM may not join.
    IdentityDenied,
    /// Of a group: a VM is the clone of one that lives.
    DuplicateInstance,
    /// Of a group: a VM has the address of another one.
    AddressConflict,
    /// Of a group: so many VMs are lost at once that none is called unreachable.
    MassLoss,
    /// Of a group: every VM of the trust domain may join it.
    OpenAccess,
    /// Of a workload: it may receive traffic.
    Ready,
    /// Of a workload: its probe fails.
    ProbeFailed,
    /// Of a workload: nobody has heard of its VM.
    HarnessUnreachable,
    /// Of a workload: it is being removed.
    Removed,
    /// Of a workload: another process of its VM has taken the place of one that did not answer.
    TakenOver,
    /// Of a workload: somebody else changes it whenever it is put right.
    Contested,
}

/// Takes events; clones feed the same queue.
#[derive(Clone, Debug)]
pub struct Events {
    queue: mpsc::Sender<(Regarding, Reason, String)>,
    limit: Arc<Mutex<Limit>>,
    metrics: Metrics,
}

/// Tells the API server.
pub struct Publisher {
    recorder: Recorder,
    queue: mpsc::Receiver<(Regarding, Reason, String)>,
    metrics: Metrics,
    /// Failures in a row.
    failures: u32,
}

/// `replica` names us to people.
pub fn events(client: Client, replica: &str, metrics: Metrics) -> (Events, Publisher) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let reporter = Reporter {
        controller: "meshexpansion.io/autoregistration".to_owned(),
        instance: Some(replica.to_owned()),
    };
    let events = Events {
        queue: sender,
        limit: Arc::default(),
        metrics: metrics.clone(),
    };
    let publisher = Publisher {
        recorder: Recorder::new(client, reporter),
        queue: receiver,
        metrics,
        failures: 0,
    };
    (events, publisher)
}

// === impl Events ===

impl Events {
    /// Takes an event and returns at once. One that has the same object and reason as another of the last minute is
    /// counted and forgotten, as is one for which there is no room.
    pub fn publish(&self, regarding: Regarding, reason: Reason, message: &str) {
        let key = (regarding.clone(), reason);
        let allowed = {
            let mut limit = self.limit.lock().unwrap_or_else(PoisonError::into_inner);
            limit.allows(Instant::now(), key)
        };
        if !allowed {
            self.metrics.event("limited");
            return;
        }
        let message = shortened(message).to_owned();
        if self.queue.try_send((regarding, reason, message)).is_err() {
            self.metrics.event("dropped");
        }
    }
}

fn shortened(message: &str) -> &str {
    let mut end = message.len().min(LONGEST_MESSAGE);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    message.get(..end).unwrap_or_default()
}

// === impl Publisher ===

impl std::fmt::Debug for Publisher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Publisher").finish_non_exhaustive()
    }
}

impl Publisher {
    /// Runs until nobody publishes any more.
    pub async fn run(mut self) {
        while let Some((regarding, reason, message)) = self.queue.recv().await {
            let event = Event {
                type_: reason.severity(),
                reason: reason.as_str().to_owned(),
                note: Some(message),
                action: reason.action().to_owned(),
                secondary: None,
            };
            let reference = reference(regarding);
            let publishing = self.recorder.publish(&event, &reference);
            match tokio::time::timeout(REQUEST, publishing).await {
                Ok(Ok(())) => self.succeeded(),
                Ok(Err(error)) => self.complain(&report::chain(&error)),
                Err(_elapsed) => self.complain("the API server gave no answer in time"),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn succeeded(&mut self) {
        self.metrics.event("published");
        if std::mem::take(&mut self.failures) > 0 {
            info!("events are published again");
        }
    }

    fn complain(&mut self, error: &str) {
        self.metrics.event("failed");
        self.failures = self.failures.saturating_add(1);
        if self.failures <= LOUD {
            warn!(error, "cannot publish an event, it is dropped");
        } else {
            debug!(error, "cannot publish an event, it is dropped");
        }
    }
}

fn reference(regarding: Regarding) -> ObjectReference {
    let (version, kind) = match regarding.kind {
        Kind::Group => ("workload.buoyant.io/v1alpha1", "ExternalGroup"),
        Kind::Workload => ("workload.linkerd.io/v1beta1", "ExternalWorkload"),
    };
    ObjectReference {
        api_version: Some(version.to_owned()),
        kind: Some(kind.to_owned()),
        namespace: Some(regarding.namespace),
        name: Some(regarding.name),
        uid: Some(regarding.uid),
        ..ObjectReference::default()
    }
}

// === impl Reason ===

impl Reason {
    /// As it is shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Registered => "Registered",
            Self::IdentityDenied => "IdentityDenied",
            Self::DuplicateInstance => "DuplicateInstance",
            Self::AddressConflict => "AddressConflict",
            Self::MassLoss => "MassLoss",
            Self::OpenAccess => "OpenAccess",
            Self::Ready => "Ready",
            Self::ProbeFailed => "ProbeFailed",
            Self::HarnessUnreachable => "HarnessUnreachable",
            Self::Removed => "Removed",
            Self::TakenOver => "TakenOver",
            Self::Contested => "Contested",
        }
    }

    /// What we were doing.
    fn action(self) -> &'static str {
        match self {
            Self::Registered
            | Self::IdentityDenied
            | Self::DuplicateInstance
            | Self::AddressConflict
            | Self::TakenOver => "Registering",
            Self::OpenAccess => "ReadingGroup",
            Self::Ready | Self::ProbeFailed => "Probing",
            Self::MassLoss | Self::HarnessUnreachable => "Watching",
            Self::Removed => "Removing",
            Self::Contested => "Writing",
        }
    }

    fn severity(self) -> EventType {
        match self {
            Self::Registered | Self::Ready | Self::Removed | Self::TakenOver => EventType::Normal,
            Self::IdentityDenied
            | Self::DuplicateInstance
            | Self::AddressConflict
            | Self::MassLoss
            | Self::OpenAccess
            | Self::ProbeFailed
            | Self::HarnessUnreachable
            | Self::Contested => EventType::Warning,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_cut_between_characters() {
        assert_eq!(shortened("short"), "short");
        let long = format!("a{}", "ä".repeat(1000));
        assert_eq!(shortened(&long).len(), LONGEST_MESSAGE - 1);
    }
}
