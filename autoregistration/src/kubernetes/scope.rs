//! Where groups and workloads are looked for: everywhere by one watch, or in some namespaces by a watch of each, which is
//! as much as rights in these namespaces allow.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Debug};
use std::sync::Arc;

use futures::StreamExt as _;
use futures::stream::{BoxStream, select_all};
use kube::Client;
use kube::api::{Api, DynamicObject};
use kube::core::ApiResource;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt as _, watcher as watch_objects};
use serde::de::DeserializeOwned;
use tracing::{debug, info, warn};

use super::metrics::Metrics;
use crate::report;

/// Objects that are asked for at once.
const PAGE: u32 = 500;
/// A problem that repeats is said so often at first, then only to those who look closely.
const LOUD: u32 = 3;

/// All namespaces, or these only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope(BTreeSet<String>);

/// What one watch brings.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Everything.
    All,
    /// What is in this namespace.
    Namespace(Arc<str>),
}

/// An event of one of the watches.
pub type Heard<K = DynamicObject> = (Part, watcher::Result<Event<K>>);
/// What the watches bring.
pub type Events<K = DynamicObject> = BoxStream<'static, Heard<K>>;

/// The parts of which no whole list has come yet. Before all have come, nothing can be called missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Awaited(BTreeSet<Part>);

/// Says that a watch fails, and that it goes on.
#[derive(Debug)]
pub struct Complaints {
    kind: &'static str,
    plural: &'static str,
    metrics: Metrics,
    /// Failures in a row.
    failures: BTreeMap<Part, u32>,
}

// === impl Scope ===

impl Scope {
    /// All namespaces.
    pub const fn everywhere() -> Self {
        Self(BTreeSet::new())
    }

    /// These only; none means all.
    pub fn new(namespaces: impl IntoIterator<Item = String>) -> Self {
        Self(namespaces.into_iter().collect())
    }

    /// The namespaces; none means all.
    pub fn namespaces(&self) -> &BTreeSet<String> {
        &self.0
    }

    /// What is watched on its own.
    pub fn parts(&self) -> Vec<Part> {
        if self.0.is_empty() {
            return vec![Part::All];
        }
        let namespaces = self
            .0
            .iter()
            .map(|name| Part::Namespace(name.as_str().into()));
        namespaces.collect()
    }

    /// Watches the objects of a kind that has a namespace.
    pub(super) fn watch(&self, client: &Client, kind: &ApiResource) -> Events {
        self.follow(|part| {
            let client = client.clone();
            let api = match part {
                Part::All => Api::<DynamicObject>::all_with(client, kind),
                Part::Namespace(name) => Api::namespaced_with(client, name, kind),
            };
            (api, watcher::Config::default())
        })
    }

    /// Watches each part as `how` says.
    pub(crate) fn follow<K>(&self, how: impl Fn(&Part) -> (Api<K>, watcher::Config)) -> Events<K>
    where
        K: kube::Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    {
        let watches = self.parts().into_iter().map(|part| {
            let (api, config) = how(&part);
            let events = watch_objects(api, config.page_size(PAGE)).default_backoff();
            events.map(move |event| (part.clone(), event)).boxed()
        });
        select_all(watches).boxed()
    }
}

// === impl Part ===

impl Part {
    /// Whether an object of this namespace comes by this watch.
    pub fn has(&self, namespace: &str) -> bool {
        match self {
            Self::All => true,
            Self::Namespace(name) => **name == *namespace,
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => Ok(()),
            Self::Namespace(name) => write!(f, " of namespace {name}"),
        }
    }
}

// === impl Awaited ===

impl Awaited {
    /// None has come.
    pub fn new(scope: &Scope) -> Self {
        Self(scope.parts().into_iter().collect())
    }

    /// A whole list of `part` has come.
    pub fn came(&mut self, part: &Part) {
        self.0.remove(part);
    }

    /// Whether all have come.
    pub fn is_over(&self) -> bool {
        self.0.is_empty()
    }
}

impl Default for Awaited {
    fn default() -> Self {
        Self::new(&Scope::everywhere())
    }
}

// === impl Complaints ===

impl Complaints {
    /// `kind` is shown in metrics, `plural` in the log.
    pub(super) fn new(kind: &'static str, plural: &'static str, metrics: Metrics) -> Self {
        Self {
            kind,
            plural,
            metrics,
            failures: BTreeMap::new(),
        }
    }

    /// The event, unless it is a failure, which is said.
    pub(super) fn success(&mut self, (part, event): Heard) -> Option<(Part, Event<DynamicObject>)> {
        match event {
            // A list begins also when it is about to fail.
            Ok(Event::Init) => Some((part, Event::Init)),
            Ok(event) => {
                if self.failures.remove(&part).is_some() {
                    info!("{}{part} are followed again", self.plural);
                }
                Some((part, event))
            }
            Err(error) => {
                self.metrics.watch_restarted(self.kind);
                let failures = self.failures.entry(part.clone()).or_default();
                *failures = failures.saturating_add(1);
                let error = report::chain(&error);
                if *failures <= LOUD {
                    warn!(%error, "cannot follow {}{part}, what is known is kept", self.plural);
                } else {
                    debug!(%error, "cannot follow {}{part}", self.plural);
                }
                None
            }
        }
    }
}
