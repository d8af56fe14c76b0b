//! Linkerd's controller of `EndpointSlice`s, as slow as a test wants it, and what a watch sees of it and of us.

use std::net::IpAddr;
use std::time::Duration;

use autoregistration::crd::ExternalWorkload;
use futures::TryStreamExt as _;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Client, ResourceExt as _};
use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::mesh::{NAMESPACE, ready};

const SLICE: &str = "linkerd-external-web";

/// A moment as a watch sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    /// The workload: its readiness and its address.
    Workload(String, IpAddr),
    /// The addresses that are endpoints.
    Endpoints(Vec<IpAddr>),
}

/// The controller, and a watch.
pub(super) struct Slices {
    held: watch::Sender<bool>,
    moments: mpsc::UnboundedReceiver<(u64, Moment)>,
    seen: Vec<(u64, Moment)>,
    _tasks: JoinSet<()>,
}

// === impl Slices ===

impl Slices {
    pub(super) fn of(client: &Client) -> Self {
        let (held, is_held) = watch::channel(false);
        let (moment, moments) = mpsc::unbounded_channel();
        let mut tasks = JoinSet::new();
        tasks.spawn(write(client.clone(), is_held));
        tasks.spawn(watch_workloads(client.clone(), moment.clone()));
        tasks.spawn(watch_slices(client.clone(), moment));
        Self {
            held,
            moments,
            seen: Vec::new(),
            _tasks: tasks,
        }
    }

    /// Slices stay as they are.
    pub(super) fn hold(&self) {
        self.held.send_replace(true);
    }

    pub(super) fn release(&self) {
        self.held.send_replace(false);
    }

    /// All that was seen until now, in the order in which it came to be; what repeats is left out.
    pub(super) fn seen(&mut self) -> Vec<Moment> {
        while let Ok(moment) = self.moments.try_recv() {
            self.seen.push(moment);
        }
        // Versions of all kinds are of one history.
        self.seen.sort_by_key(|(version, _)| *version);
        let mut seen = Vec::new();
        let mut workload = None;
        let mut endpoints = None;
        for (_, moment) in &self.seen {
            let last = match moment {
                Moment::Workload(..) => &mut workload,
                Moment::Endpoints(_) => &mut endpoints,
            };
            if *last != Some(moment) {
                *last = Some(moment);
                seen.push(moment.clone());
            }
        }
        seen
    }
}

async fn write(client: Client, mut held: watch::Receiver<bool>) {
    let workloads = Api::<ExternalWorkload>::namespaced(client.clone(), NAMESPACE);
    let slices = Api::<EndpointSlice>::namespaced(client, NAMESPACE);
    let mut written = None;
    loop {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let Ok(all) = workloads.list(&ListParams::default()).await else {
            continue;
        };
        if held.wait_for(|held| !held).await.is_err() {
            return;
        }
        let is_ready = |workload: &&ExternalWorkload| {
            ready(workload).is_some_and(|condition| condition.status == "True")
        };
        let endpoints = all.items.iter().filter(is_ready).map(|workload| {
            json!({
                "addresses": [address(workload)],
                "conditions": { "ready": true },
                "targetRef": { "kind": "ExternalWorkload", "name": workload.name_any() },
            })
        });
        let endpoints = endpoints.collect::<Vec<_>>();
        if written.as_ref() == Some(&endpoints) {
            continue;
        }
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": SLICE,
                "labels": {
                    "kubernetes.io/service-name": "web",
                    "endpointslice.kubernetes.io/managed-by": "linkerd-external-workloads-controller",
                },
            },
            "addressType": "IPv4",
            "endpoints": endpoints,
        });
        let by = PatchParams::apply("linkerd").force();
        if slices.patch(SLICE, &by, &Patch::Apply(slice)).await.is_ok() {
            written = Some(endpoints);
        }
    }
}

async fn watch_workloads(client: Client, out: mpsc::UnboundedSender<(u64, Moment)>) {
    let api = Api::<ExternalWorkload>::namespaced(client, NAMESPACE);
    let events = watcher(api, watcher::Config::default());
    let told = events.try_for_each(async |event| {
        if let Event::Apply(workload) | Event::InitApply(workload) = event {
            let condition = ready(&workload);
            let readiness = condition.map_or_else(String::new, |it| {
                let reason = it.reason.filter(|_| it.status != "True");
                [Some(it.status), reason]
                    .into_iter()
                    .flatten()
                    .collect::<Vec<_>>()
                    .join(" ")
            });
            let moment = Moment::Workload(readiness, address(&workload));
            let _nobody = out.send((version(&workload), moment));
        }
        Ok(())
    });
    told.await.unwrap();
}

async fn watch_slices(client: Client, out: mpsc::UnboundedSender<(u64, Moment)>) {
    let api = Api::<EndpointSlice>::namespaced(client, NAMESPACE);
    let events = watcher(api, watcher::Config::default());
    let told = events.try_for_each(async |event| {
        if let Event::Apply(slice) | Event::InitApply(slice) = event {
            let endpoints = slice.endpoints.iter().flatten();
            let addresses = endpoints.flat_map(|endpoint| &endpoint.addresses);
            let addresses = addresses.map(|address| address.parse().unwrap());
            let moment = Moment::Endpoints(addresses.collect());
            let _nobody = out.send((version(&slice), moment));
        }
        Ok(())
    });
    told.await.unwrap();
}

fn version(object: &impl kube::Resource) -> u64 {
    let version = object.meta().resource_version.as_ref().unwrap();
    version.parse().unwrap()
}

fn address(workload: &ExternalWorkload) -> IpAddr {
    let ips = workload.spec.workload_ips.as_ref().unwrap();
    ips[0].ip.parse().unwrap()
}
