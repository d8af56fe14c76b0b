//! Keeps `ExternalWorkload`s as they are wished for, and tells what is there.
//!
//! ```text
//! wishes ──▶ writer (step, queue, drained) ──▶ calls ──▶ API server
//! news   ◀────────┘      ▲ watch, answers ◀───────────────────┘
//! ```

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use kube::Client;
use kube::core::ApiResource;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, info, warn};

use super::calls;
use super::metrics::Metrics;
use super::scope::{Complaints, Events, Heard, Scope};
use super::writer::{Answer, Call, Writer};
use crate::crd::ExternalWorkload;
use crate::store::{News, Wish};

/// A problem that repeats is said so often at first, then only to those who look closely.
const LOUD: u32 = 3;
/// While nothing happens the clock is looked at so often, for the age of what waits.
const IDLE: Duration = Duration::from_secs(10);

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
    scope: Scope,
    events: Events,
    writer: Writer,
    calls: FuturesUnordered<BoxFuture<'static, (Call, Answer)>>,
    lists: FuturesUnordered<BoxFuture<'static, Endpoints>>,
    metrics: Metrics,
    complaints: Complaints,
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
    /// Lists the workloads for the first time. Waits for the API server as long as it takes.
    ///
    /// `client` should not retry by itself: a wish that has changed meanwhile could not overtake.
    pub async fn load(
        client: Client,
        scope: &Scope,
        settings: StoreSettings,
        metrics: Metrics,
    ) -> Self {
        let mut store = Self {
            events: follow(scope, &client),
            scope: scope.clone(),
            client,
            writer: Writer::new(scope, settings.writes_per_second, Instant::now()),
            calls: FuturesUnordered::new(),
            lists: FuturesUnordered::new(),
            complaints: Complaints::new("ExternalWorkload", "externalworkloads", metrics.clone()),
            metrics,
            blind: 0,
        };
        while let Some(heard) = store.events.next().await {
            if store.watched(heard) {
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
                heard = self.events.next() => {
                    let Some(heard) = heard else { return };
                    self.watched(heard);
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
        if self.writer.is_astray() {
            warn!(
                "the API server knows less than it did, as after a restore of etcd: all workloads are listed anew"
            );
            self.events = follow(&self.scope, &self.client);
        }
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
    fn watched(&mut self, heard: Heard) -> bool {
        let heard = self.complaints.success(heard);
        heard.is_some_and(|(part, event)| self.writer.watched(&part, event, Instant::now()))
    }
}

/// All workloads, from a list on.
fn follow(scope: &Scope, client: &Client) -> Events {
    scope.watch(client, &ApiResource::erase::<ExternalWorkload>(&()))
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
