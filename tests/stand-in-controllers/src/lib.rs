//! Takes the place of Linkerd's destination and policy controllers in the lab and in tests, where the real ones are not at
//! hand.
//!
//! It knows nothing but the objects of an API server, and tells proxies what Linkerd would make of them, so that what
//! autoregistration wrote there, and nothing else, is what carries the traffic. As Linkerd's own does it writes
//! `EndpointSlice`s and makes its answers of those it reads, with the traps that a writer of `ExternalWorkload`s has to
//! know ([`publisher`]).
//!
//! What it is not: its slices know no limit of endpoints or of writes, and only addresses of version 4. It reads no pods, no `Server`s, no
//! authorization policies, no routes and no `linkerd-config`; every port has the policy `all-unauthenticated`. Its profiles and policies
//! are those of `autoregistration --standalone`.

mod discovery;
mod known;
mod picture;
mod publisher;
mod serve;
mod slices;
mod writer;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use autoregistration::crd::ExternalWorkload;
use autoregistration::view::View;
use clap::Args;
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::Api;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::watcher::Event;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Client, Config};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::known::Known;
use crate::publisher::{Addresses, Key, Publisher};
use crate::writer::Wanted;

/// What it reads and where it serves.
#[derive(Args, Clone, Debug)]
pub struct Arguments {
    /// How to reach the API server
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: PathBuf,
    /// Where proxies ask who is behind a name; without it no slices are written
    #[arg(long, value_name = "ADDR")]
    pub destination_listen: Option<SocketAddr>,
    /// Where proxies ask who may connect
    #[arg(long, value_name = "ADDR")]
    pub policy_listen: Option<SocketAddr>,
}

/// What streams of the destination API are told of.
#[derive(Clone, Debug, Default)]
struct Picture {
    publisher: Publisher,
    services: Arc<Vec<Service>>,
}

/// What is published of all that is known.
struct Published {
    views: watch::Sender<Arc<View>>,
    pictures: watch::Sender<Arc<Picture>>,
    wanted: watch::Sender<Option<Wanted>>,
}

/// Runs until something fails that should not.
///
/// # Errors
///
/// When an address is taken, or the kubeconfig is of no use.
pub async fn run(arguments: Arguments) -> Result<()> {
    info!("STAND-IN for Linkerd's controllers, not Linkerd's own");
    let client = client(&arguments).await?;
    // Until all is known nothing is said, above all not that an address is unknown: its proxy would go on in plaintext.
    let (views, view) = watch::channel(Arc::new(View::default()));
    let (pictures, mut picture) = watch::channel(Arc::new(Picture::default()));
    let (wanted, slices) = watch::channel(None);
    let published = Published {
        views,
        pictures,
        wanted,
    };
    let (destination_view, asked) = (view.clone(), picture.clone());
    let destination = async move {
        let Some(addr) = arguments.destination_listen else {
            return std::future::pending().await;
        };
        // As Linkerd's own: nobody is answered before all watches are there.
        picture.changed().await.context("the watches have ended")?;
        serve::destination(addr, asked, destination_view).await
    };
    let policy = async move {
        match arguments.policy_listen {
            Some(addr) => serve::policy(addr, view).await,
            None => std::future::pending().await,
        }
    };
    let write = async {
        match arguments.destination_listen {
            Some(_) => writer::run(client.clone(), slices).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        ended = look(client.clone(), published) => ended,
        ended = write => ended,
        ended = destination => ended,
        ended = policy => ended,
    }
}

async fn client(arguments: &Arguments) -> Result<Client> {
    let file = Kubeconfig::read_from(&arguments.kubeconfig).context("read the kubeconfig")?;
    let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
        .await
        .context("understand the kubeconfig")?;
    Client::try_from(config).context("make a client of the API server")
}

/// Follows the objects and publishes what becomes of them. While the API server is away all stays as it was.
async fn look(client: Client, published: Published) -> Result<()> {
    let config = watcher::Config::default;
    let workloads = Api::<ExternalWorkload>::all(client.clone());
    let mut workload_events = watcher(workloads, config()).default_backoff().boxed();
    let mut service_events = watcher(Api::<Service>::all(client.clone()), config())
        .default_backoff()
        .boxed();
    let mut slice_events = watcher(Api::<EndpointSlice>::all(client), config())
        .default_backoff()
        .boxed();
    let (mut workloads, mut services) = (Known::default(), Known::default());
    let mut publisher = Publisher::default();
    let (mut listed, mut listing) = (false, Vec::new());
    loop {
        let failed = tokio::select! {
            Some(event) = workload_events.next() => event.map(|event| workloads.take(event)).err(),
            Some(event) = service_events.next() => event.map(|event| services.take(event)).err(),
            // Linkerd's own waits for its other watches before it looks at slices.
            Some(event) = slice_events.next(), if workloads.all().is_some() => {
                let workload = |key: &Key| workloads.get(key).cloned();
                match event {
                    Ok(Event::Init) => listing.clear(),
                    Ok(Event::InitApply(slice)) => listing.push(slice),
                    Ok(Event::InitDone) => {
                        publisher.listed(std::mem::take(&mut listing), workload);
                        listed = true;
                    }
                    Ok(Event::Apply(slice)) => publisher.applied(slice, workload),
                    Ok(Event::Delete(slice)) => publisher.deleted(&slice, workload),
                    Err(error) => warn!(%error, "slices cannot be watched"),
                }
                None
            }
            else => bail!("the watches have ended"),
        };
        if let Some(error) = failed {
            warn!(%error, "the API server cannot be watched");
        }
        let (Some(workloads), Some(services)) = (workloads.all(), services.all()) else {
            continue;
        };
        let workloads: Vec<_> = workloads.collect();
        let services: Vec<_> = services.collect();
        let view = picture::view(workloads.iter().copied(), services.iter().copied());
        published.views.send_if_modified(|last| {
            let changed = **last != view;
            *last = Arc::new(view);
            changed
        });
        let wanted = slices::wanted(&services, &workloads);
        published.wanted.send_if_modified(|last| {
            let changed = last.as_ref() != Some(&wanted);
            *last = Some(wanted);
            changed
        });
        if listed {
            published.pictures.send_replace(Arc::new(Picture {
                publisher: publisher.clone(),
                services: Arc::new(services.into_iter().cloned().collect()),
            }));
        }
    }
}

// === impl Picture ===

impl Picture {
    /// Name of the Service's port with this number.
    fn port(&self, (namespace, name): &Key, number: u16) -> Option<String> {
        let mut services = self.services.iter();
        let service = services.find(|it| {
            it.metadata.namespace.as_ref() == Some(namespace)
                && it.metadata.name.as_ref() == Some(name)
        })?;
        let mut ports = service.spec.as_ref()?.ports.iter().flatten();
        let port = ports.find(|port| port.port == i32::from(number))?;
        Some(port.name.clone().unwrap_or_default())
    }

    /// Who is behind the port of this name.
    fn behind(&self, service: &Key, port: &str) -> Addresses {
        let all = self.publisher.of(service).into_iter().flatten();
        let here = all.filter(|(_, address)| address.ports.contains_key(port));
        here.map(|(key, address)| (key.clone(), address.clone()))
            .collect()
    }
}
