//! Keeps `ExternalWorkload`s as they are wished for, and tells what is there.
//!
//! ```text
//! wishes ──▶ writer (step, queue, drained) ──▶ calls ──▶ API server
//! news   ◀────────┘      ▲ watch, answers ◀───────────────────┘
//! ```

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{BoxStream, FuturesUnordered};
use futures::{FutureExt as _, StreamExt as _};
use kube::Client;
use kube::api::{Api, DynamicObject};
use kube::core::ApiResource;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt as _, watcher as watch_objects};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, info, warn};

use super::calls;
use super::metrics::Metrics;
use super::writer::{Answer, Call, Writer};
use crate::crd::ExternalWorkload;
use crate::report;
use crate::store::{News, Wish};

/// Objects that are asked for at once.
const PAGE: u32 = 500;
/// A problem that repeats is said so often at first, then only to those who look closely.
const LOUD: u32 = 3;
/// Of what is watched, in metrics.
const KIND: &str = "ExternalWorkload";
/// While nothing happens the clock is looked at so often, for the age of what waits.
const IDLE: Duration = Duration::from_secs(10);

type Events = BoxStream<'static, watcher::Result<Event<DynamicObject>>>;
/// Names of the workloads in a namespace that have a ready endpoint.
type Endpoints = (String, Result<BTreeSet<String>, String>);

/// How much is asked of the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreSettings {
    /// Writes a second in the long run; twice as many after a pause.
    pub writes_per_second: u32,
}

/// The store.
pub struct Store {
    client: Client,
    events: Events,
    writer: Writer,
    calls: FuturesUnordered<BoxFuture<'static, (Call, Answer)>>,
    lists: FuturesUnordered<BoxFuture<'static, Endpoints>>,
    metrics: Metrics,
    /// Failures of the watch in a row.
    failures: u32,
    /// Failures to list `EndpointSlice`s.
    blind: u32,
}

// === impl Store ===

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("writer", &self.writer)
            .finish_non_exhaustive()
    }
}

impl Store {
    /// Lists the workloads of all namespaces for the first time. Waits for the API server as long as it takes.
    ///
    /// `client` should not retry by itself: a wish that has changed meanwhile could not overtake.
    pub async fn load(client: Client, settings: StoreSettings, metrics: Metrics) -> Self {
        let kind = ApiResource::erase::<ExternalWorkload>(&());
        let api = Api::<DynamicObject>::all_with(client.clone(), &kind);
        let events = watch_objects(api, watcher::Config::default().page_size(PAGE));
        let mut store = Self {
            client,
            events: events.default_backoff().boxed(),
            writer: Writer::new(settings.writes_per_second, Instant::now()),
            calls: FuturesUnordered::new(),
            lists: FuturesUnordered::new(),
            metrics,
            failures: 0,
            blind: 0,
        };
        while let Some(event) = store.events.next().await {
            if store.watched(event) {
                break;
            }
        }
        store.metrics.available(true);
        info!("workloads loaded");
        store
    }

    /// Carries out `wishes` and tells `news`, first of all that all are known. Ends when one of the two is closed.
    pub async fn run(
        mut self,
        mut wishes: mpsc::UnboundedReceiver<Wish>,
        news: mpsc::Sender<News>,
    ) {
        loop {
            let now = Instant::now();
            self.writer.tick(now);
            self.start(now);
            let wake = self.writer.wake(now).unwrap_or(now + IDLE);
            tokio::select! {
                permit = news.reserve(), if self.writer.has_news() => {
                    let Ok(permit) = permit else { return };
                    if let Some(news) = self.writer.news() {
                        permit.send(news);
                    }
                }
                wish = wishes.recv() => {
                    let Some(wish) = wish else { return };
                    self.writer.wish(wish, Instant::now());
                    // They come in crowds, and the newest of a workload is the one that counts.
                    while let Ok(wish) = wishes.try_recv() {
                        self.writer.wish(wish, Instant::now());
                    }
                }
                Some((call, answer)) = self.calls.next() => self.answered(&call, answer),
                Some((namespace, ready)) = self.lists.next() => self.listed(&namespace, &ready),
                event = self.events.next() => {
                    let Some(event) = event else { return };
                    self.watched(event);
                }
                () = sleep_until(wake) => {}
            }
        }
    }

    /// Starts what is to be done now.
    fn start(&mut self, now: Instant) {
        while let Some(call) = self.writer.next(now) {
            let client = self.client.clone();
            let call = async move {
                let answer = calls::make(&client, &call).await;
                (call, answer)
            };
            self.calls.push(call.boxed());
        }
        for namespace in self.writer.ask(now) {
            let client = self.client.clone();
            let list = async move {
                let ready = calls::ready_endpoints(&client, &namespace).await;
                (namespace, ready)
            };
            self.lists.push(list.boxed());
        }
        let (waiting, age) = self.writer.waiting(now);
        self.metrics.queue(waiting, age);
    }

    fn answered(&mut self, call: &Call, answer: Answer) {
        self.metrics.call(call.kind.name(), outcome(&answer));
        self.writer
            .answered(&call.key, &call.kind, answer, Instant::now());
        self.metrics.available(self.writer.is_available());
        for duration in self.writer.transitions() {
            self.metrics.transition(duration);
        }
    }

    fn listed(&mut self, namespace: &str, ready: &Result<BTreeSet<String>, String>) {
        if let Err(error) = ready {
            self.blind = self.blind.saturating_add(1);
            if self.blind <= LOUD {
                warn!(
                    namespace,
                    error, "cannot list EndpointSlices, changes wait longer than they need to"
                );
            } else {
                debug!(namespace, error, "cannot list EndpointSlices");
            }
        }
        let ready = ready.as_ref().ok();
        self.writer.listed(namespace, ready, Instant::now());
    }

    /// Whether all workloads are known.
    fn watched(&mut self, event: watcher::Result<Event<DynamicObject>>) -> bool {
        let event = match event {
            Ok(event) => event,
            Err(error) => {
                self.failures = self.failures.saturating_add(1);
                let error = report::chain(&error);
                if self.failures <= LOUD {
                    warn!(%error, "cannot follow externalworkloads, what is known is kept");
                } else {
                    debug!(%error, "cannot follow externalworkloads");
                }
                self.metrics.watch_restarted(KIND);
                return false;
            }
        };
        let all = self.writer.watched(event, Instant::now());
        if all && std::mem::take(&mut self.failures) > 0 {
            info!("externalworkloads are followed again");
        }
        all
    }
}

fn outcome(answer: &Answer) -> &'static str {
    match answer {
        Answer::There(_) | Answer::Gone => "ok",
        Answer::Conflict => "conflict",
        Answer::Refused(_) => "refused",
        Answer::Failed(_) => "failed",
        Answer::Unavailable(..) => "unavailable",
    }
}
