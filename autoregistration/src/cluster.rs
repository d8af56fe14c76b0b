//! The whole process in a cluster: what is loaded and bound, in which order, and how it ends.
//!
//! ```text
//! ExternalGroups ─┐                                  ┌──▶ wishes ──▶ store ──▶ ExternalWorkloads
//! linkerd-config ─┼──▶ registry (one task) ◀── news ─┘                 │
//! sessions (gRPC)─┘        ▲        ▲                                  ▼
//!                   census │        │ claims               Linkerd's destination and policy controllers
//!                   leader ┴─ peers ┘
//! ```
//!
//! Every replica serves VMs; the one that holds the Lease says which are lost.

mod ports;
mod replica;

use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;
use tracing::info;

use self::ports::Ports;
use self::replica::Replica;
use crate::admin::Admin;
use crate::args::{Args, Identity};
use crate::balance::{self, Pace};
use crate::kubernetes::events;
use crate::kubernetes::groups::Groups;
use crate::kubernetes::leader::{Leader, Timing};
use crate::kubernetes::peers::{self, Wanted};
use crate::kubernetes::scope::Scope;
use crate::kubernetes::status::{self, Statuses};
use crate::kubernetes::store::{Store, StoreSettings};
use crate::linkerd::Settings;
use crate::linkerd::watch::Watch as SettingsWatch;
use crate::metrics::Metrics;
use crate::peer::server::Meshed;
use crate::peer::{Peers, Phase, Server, census};
use crate::process::{Error, Parts, server};
use crate::registration::{REQUEST_TIMEOUT, Registration};
use crate::registry::task::{Command, Inputs, Link, Others, Task};
use crate::registry::{Families, Reconnect, Rules};
use crate::shutdown;
use crate::sidecar::{self, PodIps};
use crate::tls::acceptor::Acceptor;
use crate::tls::files as tls;

pub use self::ports::Addresses;

/// Requests that wait for the registry.
const COMMANDS: usize = 4096;
/// News that wait for the registry.
const NEWS: usize = 1024;
/// With our own TLS a harness has a connection of its own, and needs one stream, two while it changes.
const STREAMS: u32 = 16;
/// An answer of the API server takes no longer, or it is asked again.
const API_TIMEOUT: Duration = Duration::from_secs(30);
/// What the registry has to write at the end, the API server may take so long for.
const LAST_WRITES: Duration = Duration::from_secs(5);

/// A running replica.
#[derive(Debug)]
pub struct Cluster {
    /// Where it listens.
    pub addresses: Addresses,
    commands: mpsc::Sender<Command>,
    ready: watch::Sender<bool>,
    phase: watch::Sender<Phase>,
    resign: watch::Sender<bool>,
    resigned: oneshot::Receiver<()>,
    parts: Parts,
}

// === impl Cluster ===

impl Cluster {
    /// Binds, waits for the API server as long as it takes, serves. Nobody is served before all is known: a VM that is
    /// not known yet would be made a second time.
    pub async fn start(args: Args) -> Result<Self, Error> {
        Self::start_at(args, Pace::default()).await
    }

    /// The same with VMs that are sent to other replicas sooner, for tests that cannot wait for hours.
    #[doc(hidden)]
    pub async fn start_at(args: Args, pace: Pace) -> Result<Self, Error> {
        let client = client(&args).await?;
        let ports = Ports::bind(&args).await?;
        let addresses = ports.addresses;
        let metrics = Metrics::default();
        let mut parts = Parts::new();

        let (commands, commands_receiver) = mpsc::channel(COMMANDS);
        let (ready, ready_receiver) = watch::channel(false);
        let (phase, phase_receiver) = watch::channel(Phase::Starting);
        let admin = Admin {
            registry: commands.clone(),
            lists: false,
            ready: ready_receiver,
            metrics: metrics.clone(),
            started: time::OffsetDateTime::now_utc(),
        };
        parts.follow("the admin port", admin.run(ports.admin));

        let writes = StoreSettings {
            writes_per_second: args.cluster.writes_per_second,
        };
        let watched = args.cluster.watch_namespaces.iter();
        let scope = Scope::new(watched.map(ToString::to_string));
        info!("waiting for the API server");
        let (groups, settings, store, roster) = tokio::join!(
            Groups::load(&client, &scope, metrics.kubernetes()),
            SettingsWatch::load(
                &client,
                &scope,
                args.linkerd_namespace.as_str().to_owned(),
                metrics.kubernetes(),
            ),
            Store::load(client.clone(), &scope, writes, metrics.kubernetes()),
            roster(&args, &client, &metrics, &mut parts),
        );
        let ((groups, followed), (settings_watch, settings)) = (groups, settings);
        parts.follow("the watch of groups", groups.run());
        parts.follow("the watch of settings", settings_watch.run());

        let name = args.cluster.pod_name.clone();
        let (leader, leadership) = Leader::new(
            client.clone(),
            args.cluster.namespace.as_str(),
            &args.cluster.lease_name,
            &name,
            Timing::default(),
            metrics.clone(),
        );
        let (events, publisher) = events::events(client.clone(), &name, metrics.clone());
        let statuses = Statuses::new(
            client.clone(),
            status::Inputs {
                followed: followed.clone(),
                settings: settings.clone(),
                registry: commands.clone(),
                leadership: leadership.clone(),
                events: events.clone(),
                default_access: args.default_access,
            },
        );
        parts.follow("the status of groups", statuses.run());
        let peers = Peers::new(&name, roster, metrics.clone());
        let (censuses, census_receiver) = mpsc::channel(1);
        let (loads, loads_receiver) = mpsc::channel(1);
        let (wishes, wishes_receiver) = mpsc::unbounded_channel();
        let (news, news_receiver) = mpsc::channel(NEWS);
        let (task, _) = Task::new(
            rules(&args),
            Inputs {
                commands: commands_receiver,
                manifests: followed.manifests.clone(),
                settings: settings.clone(),
                store: Link::Remote {
                    wishes,
                    news: news_receiver,
                },
                others: Some(Others {
                    claim: replica::claims(peers.clone()),
                    leading: leadership.told(),
                    census: census_receiver,
                    loads: loads_receiver,
                    events,
                }),
                metrics: metrics.clone(),
            },
        );
        parts.follow("the store", store.run(wishes_receiver, news));
        parts.follow("the registry", task.run());
        parts.follow("the events", publisher.run());
        let (resign, resigning) = watch::channel(false);
        let (done, resigned) = oneshot::channel();
        parts.follow("the leader", async move {
            leader.run(replica::until(resigning)).await;
            // Nobody waits when we don't stop.
            let _nobody = done.send(());
            std::future::pending::<()>().await;
        });
        parts.follow("the balance", balance::run(peers.clone(), pace, loads));
        parts.follow("the census", census::run(leadership, peers, censuses));

        // Everything that was there at the start is known before the first VM is heard.
        replica::settled(&commands).await;
        let service = Server {
            replica: name.into(),
            sessions: Replica::new(commands.clone()),
            phase: phase_receiver,
        };
        let meshed = match args.cluster.identity {
            Identity::Sidecar => Meshed::Yes,
            Identity::Tls => Meshed::No,
        };
        let stopped = parts.stopped();
        parts.serve("peers", service.run(ports.peers, meshed, stopped));
        let registration = Registration::new(
            args.trust_domain.without_dot(),
            commands.clone(),
            metrics.clone(),
        );
        serve(
            &args,
            &settings,
            ports.registration,
            registration,
            metrics,
            &mut parts,
        )
        .await?;
        phase.send_replace(Phase::Serving);
        ready.send_replace(true);
        info!(
            registration = %addresses.registration,
            peers = %addresses.peers,
            admin = %addresses.admin,
            "serving"
        );
        Ok(Self {
            addresses,
            commands,
            ready,
            phase,
            resign,
            resigned,
            parts,
        })
    }

    /// Runs until a part of it ends, which none should.
    pub async fn failed(&mut self) -> Error {
        self.parts.failed().await
    }

    /// Leaves the Service, sends the VMs to the other replicas one after the other, gives up the Lease, ends.
    pub async fn stop(self) {
        self.ready.send_replace(false);
        self.phase.send_replace(Phase::Stopping);
        tokio::time::sleep(shutdown::LEAVE_SERVICE).await;
        self.resign.send_replace(true);
        drop(timeout(LAST_WRITES, self.resigned).await);
        let (left, all_left) = oneshot::channel();
        let depart = Command::Depart {
            within: shutdown::SPREAD,
            left,
        };
        // The registry may have ended, then there is nobody to tell.
        if self.commands.send(depart).await.is_ok() {
            drop(timeout(shutdown::SPREAD + LAST_WRITES, all_left).await);
        }
        drop(self.commands.send(Command::Shutdown).await);
        self.parts.end().await;
    }
}

/// How to reach the API server: the file that was given, else the pod's own access.
async fn client(args: &Args) -> Result<Client, Error> {
    let fail = |error: Box<dyn std::error::Error + Send + Sync>| Error::Cluster(error);
    let mut config = match &args.cluster.kubeconfig {
        Some(path) => {
            let file = Kubeconfig::read_from(path).map_err(|error| fail(error.into()))?;
            kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
                .await
                .map_err(|error| fail(error.into()))?
        }
        None => kube::Config::incluster().map_err(|error| fail(error.into()))?,
    };
    config.read_timeout = None;
    config.connect_timeout = Some(API_TIMEOUT);
    // Whoever asks tries again himself, perhaps for something newer.
    config.default_retry = false;
    Client::try_from(config).map_err(|error| fail(error.into()))
}

async fn roster(
    args: &Args,
    client: &Client,
    metrics: &Metrics,
    parts: &mut Parts,
) -> watch::Receiver<Arc<peers::Roster>> {
    let Some(service) = &args.cluster.peer_service else {
        return peers::alone();
    };
    let wanted = Wanted {
        namespace: args.cluster.namespace.as_str().to_owned(),
        service: service.as_str().to_owned(),
        own: args.cluster.pod_ips.iter().copied().collect(),
        port: args.cluster.peer_listen.port(),
    };
    let (watch, roster) = peers::Watch::load(client.clone(), wanted, metrics.kubernetes()).await;
    parts.follow("the watch of the other replicas", watch.run());
    roster
}

fn rules(args: &Args) -> Rules {
    Rules {
        // Cluster IPs are the cluster's.
        service_network: args.mesh.service_cidr,
        restore_window: Duration::ZERO,
        disconnect_grace: args.disconnect_grace,
        workload_ttl: args.workload_ttl,
        reconnect: Reconnect::ByFleet,
        families: Families::One,
        default_access: args.default_access,
        controller: format!(
            "autoregistration {} in {}",
            env!("CARGO_PKG_VERSION"),
            args.cluster.pod_name
        ),
    }
}

/// Serves registration behind the pod's proxy, or behind our own TLS.
async fn serve(
    args: &Args,
    settings: &watch::Receiver<Arc<Settings>>,
    listener: TcpListener,
    registration: Registration,
    metrics: Metrics,
    parts: &mut Parts,
) -> Result<(), Error> {
    let stopped = parts.stopped();
    if args.cluster.identity == Identity::Sidecar {
        let pod = args.cluster.pod_ips.iter().copied().collect::<PodIps>();
        let serving = sidecar::serve(listener, pod, registration, metrics, stopped);
        parts.serve("registration", serving);
        return Ok(());
    }
    let identity = {
        let settings = settings.borrow();
        format!(
            "linkerd-autoregistration.{}.serviceaccount.identity.{}.{}",
            args.cluster.namespace, settings.linkerd_namespace, settings.identity_trust_domain
        )
    };
    let (files, (material, _)) = tls::Files::load(tls::Paths {
        anchors: args.tls.trust_anchors.clone().unwrap_or_default(),
        certificate: args.tls.tls_cert.clone().unwrap_or_default(),
        key: args.tls.tls_key.clone().unwrap_or_default(),
        identities: vec![identity],
    })
    .await?;
    parts.follow("the watch of the certificate", files.run());
    let acceptor = Acceptor {
        name: "registration",
        listener,
        material,
        choose: |material| Arc::clone(&material.registration),
        metrics,
    };
    let serving = server(STREAMS)
        .timeout(REQUEST_TIMEOUT)
        .add_service(registration.into_server())
        .serve_with_incoming_shutdown(acceptor.connections(), stopped);
    parts.serve("registration", serving);
    Ok(())
}
