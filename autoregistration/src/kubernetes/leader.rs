//! Which replica leads: the one that holds a Lease. A thin shell around [`lease`]'s decisions.
//!
//! The leader alone says of a workload that it is gone. Whoever acts on leadership asks [`Leadership::holds`] right
//! before, since a process that was stopped for a while does not know yet that it has lost it.

mod lease;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, ObjectMeta, PostParams};
use kube::{Client, Error};
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{debug, info, warn};

pub use self::lease::Timing;
use self::lease::{Election, Record, Step};
use crate::metrics::Metrics;
use crate::report;

/// A request that takes longer has failed.
const REQUEST: Duration = Duration::from_secs(5);
/// How long giving up the Lease may hold up the end of the process.
const RELEASE: Duration = Duration::from_secs(2);
/// Requests in a row without a pause: look, take, look at who was faster, take.
const REQUESTS_AT_ONCE: usize = 4;
/// A problem that repeats is said so often at first, then only to those who look closely.
const LOUD: u32 = 3;

/// A candidate for leadership.
#[derive(Debug)]
pub struct Leader {
    api: Api<Lease>,
    name: String,
    election: Election,
    /// The object as it was last seen, for what others have written to it.
    lease: Option<Lease>,
    start: Instant,
    leading: watch::Sender<bool>,
    until: watch::Sender<Instant>,
    metrics: Metrics,
    /// Failures in a row.
    failures: u32,
}

/// Whether this replica leads.
#[derive(Clone, Debug)]
pub struct Leadership {
    leading: watch::Receiver<bool>,
    until: watch::Receiver<Instant>,
    /// Where nobody elects, so that who waits for a change waits for ever.
    _elector: Option<Arc<watch::Sender<bool>>>,
}

/// A request that was not granted.
enum Failed {
    /// Somebody else was faster.
    Conflict,
    /// It has no answer, or is refused.
    Refused(String),
}

// === impl Leader ===

impl Leader {
    /// A candidate for the Lease `name` in `namespace`. `replica` names it to people; a random end makes it this
    /// process's own, since a restarted container has its pod's name again.
    pub fn new(
        client: Client,
        namespace: &str,
        name: &str,
        replica: &str,
        timing: Timing,
        metrics: Metrics,
    ) -> (Self, Leadership) {
        let me = format!("{replica}_{:08x}", rand::random::<u32>());
        let start = Instant::now();
        let (leading, leading_receiver) = watch::channel(false);
        let (until, until_receiver) = watch::channel(start);
        let leader = Self {
            api: Api::namespaced(client, namespace),
            name: name.to_owned(),
            election: Election::new(me, timing),
            lease: None,
            start,
            leading,
            until,
            metrics,
            failures: 0,
        };
        let leadership = Leadership {
            leading: leading_receiver,
            until: until_receiver,
            _elector: None,
        };
        (leader, leadership)
    }

    /// Leads whenever it can, until `stop`; then gives up the Lease, so that another one can lead at once.
    pub async fn run(mut self, stop: impl Future<Output = ()>) {
        let mut stop = std::pin::pin!(stop);
        loop {
            tokio::select! {
                biased;
                () = &mut stop => break,
                () = self.turn() => {}
            }
            self.publish("it could not be renewed in time");
            tokio::select! {
                biased;
                () = &mut stop => break,
                () = tokio::time::sleep(self.pause()) => {}
            }
            self.publish("it could not be renewed in time");
        }
        self.release().await;
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// Time for a request: leadership ends on time, also when the API server says nothing.
    fn patience(&self) -> Duration {
        let now = self.now();
        let until = self.election.until().filter(|until| now < *until);
        until.map_or(REQUEST, |until| REQUEST.min(until.saturating_sub(now)))
    }

    fn pause(&self) -> Duration {
        self.election.timing().retry.min(self.patience())
    }

    /// Looks and writes until it is known who leads, or a request fails.
    async fn turn(&mut self) {
        for _ in 0..REQUESTS_AT_ONCE {
            let result = match self.election.step(self.now()) {
                Step::Wait => break,
                Step::Read => self.read().await.map(|()| false),
                Step::Write => self.write().await.map(|()| true),
            };
            match result {
                Ok(leads) => {
                    self.succeeded();
                    if leads {
                        return;
                    }
                }
                Err(Failed::Conflict) => self.election.look_again(),
                Err(Failed::Refused(error)) => {
                    self.complain(&error);
                    return;
                }
            }
        }
        self.election.look_again();
    }

    async fn read(&mut self) -> Result<(), Failed> {
        let lease = within(self.patience(), self.api.get_opt(&self.name)).await?;
        self.election.read(self.now(), record(lease.as_ref()));
        if let Some(seen) = self.election.seen() {
            debug!(holder = seen.holder, "lease read");
        }
        self.lease = lease;
        Ok(())
    }

    async fn write(&mut self) -> Result<(), Failed> {
        let sent = self.now();
        let me = self.election.me().to_owned();
        let lease = self.put(Some(me)).await?;
        let record = record(Some(&lease));
        self.election.wrote(sent, self.now(), record);
        self.lease = Some(lease);
        self.publish("");
        Ok(())
    }

    /// Writes the record in place of the version that was last seen, or where there was none.
    async fn put(&self, holder: Option<String>) -> Result<Lease, Failed> {
        let parameters = PostParams::default();
        let before = self.lease.clone().unwrap_or_default();
        let lease = self.renewed(before, holder);
        let patience = self.patience();
        if self.lease.is_some() {
            within(patience, self.api.replace(&self.name, &parameters, &lease)).await
        } else {
            within(patience, self.api.create(&parameters, &lease)).await
        }
    }

    fn renewed(&self, lease: Lease, holder: Option<String>) -> Lease {
        let now = MicroTime(Timestamp::now());
        let spec = lease.spec.unwrap_or_default();
        let changes = holder.is_some() && holder != spec.holder_identity;
        let seconds = self.election.timing().lease.as_secs().max(1);
        let transitions = spec.lease_transitions.unwrap_or_default();
        let acquired = spec.acquire_time.clone().filter(|_| !changes);
        Lease {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                ..lease.metadata
            },
            spec: Some(LeaseSpec {
                holder_identity: holder,
                lease_duration_seconds: i32::try_from(seconds).ok(),
                lease_transitions: Some(transitions.saturating_add(i32::from(changes))),
                acquire_time: acquired.or_else(|| Some(now.clone())),
                renew_time: Some(now),
                ..spec
            }),
        }
    }

    /// First nobody leads, then the record says so.
    async fn release(mut self) {
        self.election.resign();
        self.publish("this replica stops");
        let released = async {
            for _ in 0..REQUESTS_AT_ONCE {
                if !self.election.may_release() {
                    return;
                }
                match self.put(None).await {
                    Ok(_) => return,
                    // A renewal that was under way may have come through.
                    Err(Failed::Conflict) => drop(self.read().await),
                    Err(Failed::Refused(error)) => {
                        debug!(error, "cannot give up the lease, it runs out");
                        return;
                    }
                }
            }
        };
        drop(tokio::time::timeout(RELEASE, released).await);
    }

    fn publish(&self, why: &str) {
        if let Some(until) = self.election.until() {
            self.until.send_replace(self.start + until);
        }
        let leads = self.election.leads(self.now());
        let changed = self.leading.send_if_modified(|leading| {
            let changed = *leading != leads;
            *leading = leads;
            changed
        });
        if !changed {
            return;
        }
        self.metrics.leader(leads);
        if leads {
            info!(lease = self.name, identity = self.election.me(), "leading");
        } else if self.election.is_mine() {
            info!(lease = self.name, reason = why, "leading no more");
        } else {
            let seen = self.election.seen();
            let holder = seen.map(|seen| seen.holder.as_str()).unwrap_or_default();
            info!(lease = self.name, holder, "leading no more");
        }
    }

    fn succeeded(&mut self) {
        if std::mem::take(&mut self.failures) > 0 {
            info!(lease = self.name, "lease can be read and written again");
        }
    }

    fn complain(&mut self, error: &str) {
        self.failures = self.failures.saturating_add(1);
        if self.failures <= LOUD {
            warn!(
                lease = self.name,
                error, "cannot read or write the lease, trying on"
            );
        } else {
            debug!(lease = self.name, error, "cannot read or write the lease");
        }
    }
}

async fn within<T>(
    patience: Duration,
    request: impl Future<Output = Result<T, Error>>,
) -> Result<T, Failed> {
    match tokio::time::timeout(patience, request).await {
        Ok(Ok(answer)) => Ok(answer),
        // Another version is there, one is there already, or none is there any more.
        Ok(Err(Error::Api(status))) if matches!(status.code, 404 | 409) => Err(Failed::Conflict),
        Ok(Err(error)) => Err(Failed::Refused(report::chain(&error))),
        Err(_elapsed) => Err(Failed::Refused(
            "the API server gave no answer in time".to_owned(),
        )),
    }
}

fn record(lease: Option<&Lease>) -> Record {
    let spec = lease.and_then(|lease| lease.spec.as_ref());
    let seconds = spec.and_then(|spec| spec.lease_duration_seconds);
    Record {
        version: lease.map(|lease| lease.metadata.resource_version.clone().unwrap_or_default()),
        holder: spec
            .and_then(|spec| spec.holder_identity.clone())
            .unwrap_or_default(),
        lease: Duration::from_secs(seconds.and_then(|s| u64::try_from(s).ok()).unwrap_or(0)),
    }
}

// === impl Leadership ===

impl Leadership {
    /// Whether this replica leads at this moment, by its own clock and not by what was last said.
    pub fn holds(&self) -> bool {
        *self.leading.borrow() && Instant::now() < *self.until.borrow()
    }

    /// What was last said: changes when leadership begins and ends.
    pub fn told(&self) -> watch::Receiver<bool> {
        self.leading.clone()
    }

    /// One that is never held, and of which nothing will be told.
    pub fn never() -> Self {
        Self {
            leading: watch::channel(false).1,
            until: watch::channel(Instant::now()).1,
            _elector: None,
        }
    }

    /// One that is held until then.
    #[cfg(test)]
    pub(in crate::kubernetes) fn until(until: watch::Receiver<Instant>) -> Self {
        Self {
            until,
            ..Self::always()
        }
    }

    /// One that is always held, where there is one replica and no Lease.
    pub fn always() -> Self {
        let forever = Instant::now() + Duration::from_secs(30 * 365 * 24 * 3600);
        let (elector, leading) = watch::channel(true);
        Self {
            leading,
            until: watch::channel(forever).1,
            _elector: Some(Arc::new(elector)),
        }
    }
}
