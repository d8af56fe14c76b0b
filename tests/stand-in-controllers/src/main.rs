//! Takes the place of Linkerd's destination and policy controllers in the lab, where the real ones are not at hand.
//!
//! It knows nothing but the `ExternalWorkload`s and Services of an API server, and tells proxies what Linkerd would make of
//! them, so that what autoregistration wrote there, and nothing else, is what carries the traffic.
//!
//! What it is not: it writes no `EndpointSlice`s and goes straight from objects to answers, so Linkerd's delay between them, its
//! limit of writes and its traps with slices are not seen here. It reads no pods, no `Server`s, no authorization policies, no routes and no
//! `linkerd-config`; every port has the policy `all-unauthenticated`. Its answers are those of `autoregistration --standalone`.

mod known;
mod picture;
mod serve;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use autoregistration::crd::ExternalWorkload;
use autoregistration::view::View;
use clap::Parser;
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Service;
use kube::api::Api;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Client, Config};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::known::Known;

#[derive(Parser)]
#[command(about = "A STAND-IN for Linkerd's destination and policy controllers, for the lab only")]
struct Arguments {
    /// How to reach the API server
    #[arg(long, value_name = "FILE")]
    kubeconfig: PathBuf,
    /// Where proxies ask who is behind a name
    #[arg(long, value_name = "ADDR")]
    destination_listen: SocketAddr,
    /// Where proxies ask who may connect
    #[arg(long, value_name = "ADDR")]
    policy_listen: SocketAddr,
    /// Trust anchors of the mesh, PEM
    #[arg(long, value_name = "FILE")]
    trust_anchors: PathBuf,
    /// Certificate with its intermediates, PEM
    #[arg(long, value_name = "FILE")]
    tls_cert: PathBuf,
    /// Private key of the certificate, PEM
    #[arg(long, value_name = "FILE")]
    tls_key: PathBuf,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt().with_ansi(false).init();
    info!("STAND-IN for Linkerd's controllers, not Linkerd's own");
    let client = client(&arguments).await?;
    // Until all is known nothing is said, above all not that an address is unknown: its proxy would go on in plaintext.
    let (views, view) = watch::channel(Arc::new(View::default()));
    tokio::select! {
        ended = look(client, views) => ended,
        ended = serve::run(arguments, view) => ended,
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
async fn look(client: Client, views: watch::Sender<Arc<View>>) -> Result<()> {
    let config = watcher::Config::default;
    let workloads = Api::<ExternalWorkload>::all(client.clone());
    let mut workload_events = watcher(workloads, config()).default_backoff().boxed();
    let mut service_events = watcher(Api::<Service>::all(client), config())
        .default_backoff()
        .boxed();
    let (mut workloads, mut services) = (Known::default(), Known::default());
    loop {
        let failed = tokio::select! {
            Some(event) = workload_events.next() => event.map(|event| workloads.take(event)).err(),
            Some(event) = service_events.next() => event.map(|event| services.take(event)).err(),
            else => bail!("the watches have ended"),
        };
        if let Some(error) = failed {
            warn!(%error, "the API server cannot be watched");
        }
        let (Some(workloads), Some(services)) = (workloads.all(), services.all()) else {
            continue;
        };
        let view = Arc::new(picture::view(workloads, services));
        views.send_if_modified(|last| {
            let changed = *last != view;
            *last = view;
            changed
        });
    }
}
