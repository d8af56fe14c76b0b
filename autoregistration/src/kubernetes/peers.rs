//! Who the other replicas are: the endpoints of their headless Service.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;

use futures::{Stream, StreamExt as _};
use k8s_openapi::api::discovery::v1::{EndpointConditions, EndpointSlice};
use kube::Client;
use kube::api::Api;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt as _, watcher as watch_objects};
use tokio::sync::watch;
use tracing::{debug, info, warn};

use super::metrics::Metrics;
use crate::peer::census::Answer;
use crate::report;

/// Name of the port in the Service.
const PORT: &str = "peers";
/// A problem that repeats is said so often at first, then only to those who look closely.
const LOUD: u32 = 3;
/// Of what is watched, in metrics.
const KIND: &str = "EndpointSlice";

/// Addresses of the other replicas, and whether their answer is needed.
pub type Roster = BTreeMap<SocketAddr, Answer>;

type Events = Pin<Box<dyn Stream<Item = watcher::Result<Event<EndpointSlice>>> + Send>>;

/// Which endpoints are replicas other than this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Namespace of the Service, which is our own.
    pub namespace: String,
    /// Name of the headless Service.
    pub service: String,
    /// Our own addresses.
    pub own: BTreeSet<IpAddr>,
    /// Where peers listen when the Service names no port.
    pub port: u16,
}

/// Follows the replicas.
pub struct Watch {
    wanted: Wanted,
    events: Events,
    slices: BTreeMap<String, EndpointSlice>,
    /// What a list has brought so far. It counts when it is complete.
    listed: BTreeMap<String, EndpointSlice>,
    roster: watch::Sender<Arc<Roster>>,
    metrics: Metrics,
    /// Failures in a row.
    failures: u32,
}

/// No others: there is one replica.
pub fn alone() -> watch::Receiver<Arc<Roster>> {
    info!("no --peer-service, so this is the only replica");
    watch::channel(Arc::default()).1
}

// === impl Watch ===

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch")
            .field("wanted", &self.wanted)
            .finish_non_exhaustive()
    }
}

impl Watch {
    /// Lists the replicas for the first time. Waits for the API server as long as it takes: one that is not known
    /// would not be asked.
    pub async fn load(
        client: Client,
        wanted: Wanted,
        metrics: Metrics,
    ) -> (Self, watch::Receiver<Arc<Roster>>) {
        let api = Api::<EndpointSlice>::namespaced(client, &wanted.namespace);
        let label = format!("kubernetes.io/service-name={}", wanted.service);
        let events = watch_objects(api, watcher::Config::default().labels(&label));
        let (roster, receiver) = watch::channel(Arc::default());
        let mut watch = Self {
            wanted,
            events: events.default_backoff().boxed(),
            slices: BTreeMap::new(),
            listed: BTreeMap::new(),
            roster,
            metrics,
            failures: 0,
        };
        while let Some(event) = watch.events.next().await {
            if watch.take(event) {
                break;
            }
        }
        if receiver.borrow().is_empty() {
            info!(service = watch.wanted.service, "no other replica for now");
        }
        (watch, receiver)
    }

    /// Follows them for ever. While the API server is away, they are who they were.
    pub async fn run(mut self) {
        while let Some(event) = self.events.next().await {
            self.take(event);
        }
    }

    /// Whether all are known.
    fn take(&mut self, event: watcher::Result<Event<EndpointSlice>>) -> bool {
        match event {
            Err(error) => {
                self.complain(&error);
                return false;
            }
            Ok(Event::Init) => {
                self.listed.clear();
                return false;
            }
            Ok(Event::InitApply(slice)) => {
                self.listed.insert(name(&slice), slice);
                return false;
            }
            Ok(Event::InitDone) => self.slices = std::mem::take(&mut self.listed),
            Ok(Event::Apply(slice)) => drop(self.slices.insert(name(&slice), slice)),
            Ok(Event::Delete(slice)) => drop(self.slices.remove(&name(&slice))),
        }
        if std::mem::take(&mut self.failures) > 0 {
            info!("replicas are followed again");
        }
        let slices = self.slices.values().collect::<Vec<_>>();
        let roster = roster(&slices, &self.wanted);
        self.roster.send_if_modified(|current| {
            let changed = **current != roster;
            if changed {
                let peers = roster.keys().map(ToString::to_string).collect::<Vec<_>>();
                info!(peers = peers.join(" "), "other replicas changed");
                *current = Arc::new(roster);
            }
            changed
        });
        true
    }

    fn complain(&mut self, error: &watcher::Error) {
        self.metrics.watch_restarted(KIND);
        self.failures = self.failures.saturating_add(1);
        let error = report::chain(error);
        let service = &self.wanted.service;
        if self.failures <= LOUD {
            warn!(%error, service, "cannot follow the other replicas, they are who they were");
        } else {
            debug!(%error, service, "cannot follow the other replicas");
        }
    }
}

fn name(slice: &EndpointSlice) -> String {
    slice.metadata.name.clone().unwrap_or_default()
}

/// Every endpoint but our own. One that is not in service is asked as well, since it may be going down and have VMs; but
/// nobody waits for it, since it may be one that never starts. An endpoint can be in two slices for a moment, so what
/// asks for more counts.
fn roster(slices: &[&EndpointSlice], wanted: &Wanted) -> Roster {
    let mut roster = Roster::new();
    for slice in slices {
        let ports = slice.ports.as_deref().unwrap_or_default();
        let named = ports
            .iter()
            .find(|port| port.name.as_deref() == Some(PORT))
            .or_else(|| ports.first().filter(|_| ports.len() == 1));
        let port = named
            .and_then(|port| u16::try_from(port.port?).ok())
            .unwrap_or(wanted.port);
        for endpoint in slice.endpoints.iter().flatten() {
            let answer = answer(endpoint.conditions.as_ref());
            let others = endpoint
                .addresses
                .iter()
                .filter_map(|address| address.parse::<IpAddr>().ok())
                .filter(|ip| !wanted.own.contains(ip));
            for ip in others {
                let known = roster.entry(SocketAddr::new(ip, port)).or_insert(answer);
                if answer == Answer::Needed {
                    *known = Answer::Needed;
                }
            }
        }
    }
    roster
}

fn answer(conditions: Option<&EndpointConditions>) -> Answer {
    let ready = conditions.and_then(|conditions| conditions.ready);
    let serving = conditions.and_then(|conditions| conditions.serving);
    if ready.unwrap_or(true) || serving == Some(true) {
        Answer::Needed
    } else {
        Answer::Welcome
    }
}

#[cfg(test)]
mod tests;
