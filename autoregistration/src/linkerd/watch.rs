//! Follows what the settings are made of: two `ConfigMap`s of Linkerd's, each by its name so that no other has to be
//! readable, and the annotations of all namespaces.
//!
//! Waits at the start for as long as it takes. Later, when the API server is away or an object is gone or broken, the last
//! good settings stay.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::{BoxStream, SelectAll, select_all};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::Client;
use kube::api::Api;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt as _, watcher as watch_objects};
use tokio::sync::watch;
use tokio::time::{Instant, interval_at};
use tracing::{debug, info, warn};

use super::Settings;
use super::known::{ANCHORS, CONFIG, Known, Object, Trouble};
use crate::kubernetes::metrics::Metrics;
use crate::kubernetes::scope::{Heard as HeardOf, Part, Scope};
use crate::manifests::FieldProblem;
use crate::report;

/// A problem that repeats is said so often at first, then only to those who look closely.
const LOUD: u32 = 3;
/// Between two words on what is waited for.
const PATIENCE: Duration = Duration::from_secs(15);

type Events = SelectAll<BoxStream<'static, Heard>>;

/// One event of one of the watches.
enum Heard {
    Config(watcher::Result<Event<ConfigMap>>),
    Anchors(watcher::Result<Event<ConfigMap>>),
    Namespaces(HeardOf<PartialObjectMeta<Namespace>>),
}

/// Follows the settings.
pub struct Watch {
    events: Events,
    linkerd_namespace: String,
    known: Known,
    said: Said,
    settings: Option<watch::Sender<Arc<Settings>>>,
    metrics: Metrics,
}

/// What was said, so that it is said once.
#[derive(Debug, Default)]
struct Said {
    config: Option<Trouble>,
    anchors: Option<Trouble>,
    ignored: Vec<FieldProblem>,
    /// Failures in a row, of each watch.
    failures: [u32; 3],
}

// === impl Watch ===

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch")
            .field("linkerd_namespace", &self.linkerd_namespace)
            .finish_non_exhaustive()
    }
}

impl Watch {
    /// Waits until all of the settings are there for the first time: without them no VM can be told anything.
    pub async fn load(
        client: &Client,
        scope: &Scope,
        linkerd_namespace: String,
        metrics: Metrics,
    ) -> (Self, watch::Receiver<Arc<Settings>>) {
        let mut watch = Self {
            events: events(client, scope, &linkerd_namespace),
            linkerd_namespace,
            known: Known::new(scope),
            said: Said::default(),
            settings: None,
            metrics,
        };
        let mut patience = interval_at(Instant::now() + PATIENCE, PATIENCE);
        let settings = loop {
            tokio::select! {
                Some(heard) = watch.events.next() => watch.take(heard),
                _ = patience.tick() => {
                    let missing = watch.known.missing(&watch.linkerd_namespace).join(", ");
                    warn!("waiting for {missing}");
                }
            }
            if let Some(settings) = watch.known.settings(&watch.linkerd_namespace) {
                break settings;
            }
        };
        info!(
            cluster_domain = settings.cluster_domain,
            identity_trust_domain = settings.identity_trust_domain,
            "settings of the mesh loaded"
        );
        let (sender, receiver) = watch::channel(Arc::new(settings));
        watch.settings = Some(sender);
        (watch, receiver)
    }

    /// Follows them for ever.
    pub async fn run(mut self) {
        while let Some(heard) = self.events.next().await {
            self.take(heard);
            self.publish();
        }
    }

    fn take(&mut self, heard: Heard) {
        if let Some(kind) = heard.failed() {
            self.metrics.watch_restarted(kind);
        }
        match heard {
            Heard::Config(event) => {
                if let Some(event) = self.said.success(0, CONFIG, event) {
                    self.known.take_config(event);
                }
            }
            Heard::Anchors(event) => {
                if let Some(event) = self.said.success(1, ANCHORS, event) {
                    self.known.take_anchors(event);
                }
            }
            Heard::Namespaces((part, event)) => {
                if let Some(event) = self.said.success(2, "namespaces", event) {
                    self.known.take_namespace(&part, event);
                }
            }
        }
        self.said.troubles(&self.known);
    }

    fn publish(&self) {
        let (Some(sender), Some(settings)) =
            (&self.settings, self.known.settings(&self.linkerd_namespace))
        else {
            return;
        };
        sender.send_if_modified(|current| {
            let changed = **current != settings;
            if changed {
                info!("settings of the mesh changed");
                *current = Arc::new(settings);
            }
            changed
        });
    }
}

// === impl Heard ===

impl Heard {
    /// The kind of objects whose watch has failed.
    fn failed(&self) -> Option<&'static str> {
        match self {
            Self::Config(Err(_)) | Self::Anchors(Err(_)) => Some("ConfigMap"),
            Self::Namespaces((_, Err(_))) => Some("Namespace"),
            _ => None,
        }
    }
}

// === impl Said ===

impl Said {
    /// The event, unless it is a failure, which is said.
    fn success<T>(
        &mut self,
        index: usize,
        name: &str,
        event: watcher::Result<Event<T>>,
    ) -> Option<Event<T>> {
        let failures = self.failures.get_mut(index)?;
        match event {
            // A list begins also when it is about to fail.
            Ok(Event::Init) => Some(Event::Init),
            Ok(event) => {
                if std::mem::take(failures) > 0 {
                    info!("{name} followed again");
                }
                Some(event)
            }
            Err(error) => {
                *failures = failures.saturating_add(1);
                let error = report::chain(&error);
                if *failures <= LOUD {
                    warn!(%error, "cannot follow {name}, the last good state is kept");
                } else {
                    debug!(%error, "cannot follow {name}");
                }
                None
            }
        }
    }

    fn troubles(&mut self, known: &Known) {
        say(CONFIG, &mut self.config, &known.config);
        say(ANCHORS, &mut self.anchors, &known.anchors);
        if self.ignored != known.ignored() {
            known.ignored().clone_into(&mut self.ignored);
            for problem in &self.ignored {
                warn!("{CONFIG}: not taken for VMs: {problem}");
            }
        }
    }
}

fn say<T>(name: &str, said: &mut Option<Trouble>, object: &Object<T>) {
    let now = object.trouble();
    if said.as_ref() == now {
        return;
    }
    match now {
        Some(trouble) if object.is_known() => {
            warn!("{name}: {trouble}; the last good state is kept");
        }
        Some(trouble) => warn!("{name}: {trouble}; no VM is told anything without it"),
        None => info!("{name} is good again"),
    }
    *said = now.cloned();
}

fn events(client: &Client, scope: &Scope, linkerd_namespace: &str) -> Events {
    let object = |name: &str| {
        let api = Api::<ConfigMap>::namespaced(client.clone(), linkerd_namespace);
        let only = watcher::Config::default().fields(&format!("metadata.name={name}"));
        watch_objects(api, only).default_backoff()
    };
    let namespaces = scope.follow(|part| {
        let all = watcher::Config::default();
        let config = match part {
            Part::All => all,
            Part::Namespace(name) => all.fields(&format!("metadata.name={name}")),
        };
        (
            Api::<PartialObjectMeta<Namespace>>::all(client.clone()),
            config,
        )
    });
    select_all([
        object(CONFIG).map(Heard::Config).boxed(),
        object(ANCHORS).map(Heard::Anchors).boxed(),
        namespaces.map(Heard::Namespaces).boxed(),
    ])
}
