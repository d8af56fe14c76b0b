//! The whole process: what is loaded and bound, in which order, and how it ends.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tonic::transport::Server;
use tracing::info;

use crate::admin::Admin;
use crate::args::Args;
use crate::manifests::watch as manifests;
use crate::metrics::Metrics;
use crate::registration::Registration;
use crate::registry::task::{Command, Inputs, Link, Task};
use crate::registry::{DefaultAccess, Families, Mesh};
use crate::store::memory::Memory;
use crate::tls::Material;
use crate::tls::acceptor::{Acceptor, Choose};
use crate::tls::files as tls;
use crate::view::View;

/// How long connections have to end after a shutdown was asked for. Linkerd's streams never end by themselves.
const STOP_GRACE: Duration = Duration::from_secs(2);
/// A VM that vanished is noticed after the sum of these.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// A harness has a connection of its own and needs one stream, two while it changes, and now and then a `Check`.
const REGISTRATION_STREAMS: u32 = 16;
/// A proxy has one for each of its destinations; one too many would hang without a word.
const MESH_STREAMS: u32 = 1 << 20;
/// Requests that wait for the registry.
const COMMANDS: usize = 1024;

/// A running control plane.
#[derive(Debug)]
pub struct Standalone {
    /// Where it listens.
    pub addresses: Addresses,
    /// The mesh.
    pub view: watch::Receiver<Arc<View>>,
    commands: mpsc::Sender<Command>,
    stop: watch::Sender<bool>,
    ready: watch::Sender<bool>,
    servers: JoinSet<(&'static str, Result<(), tonic::transport::Error>)>,
    followers: JoinSet<&'static str>,
}

/// Where it listens, with the ports that were given for port 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// Registration of VMs.
    pub registration: SocketAddr,
    /// Linkerd's destination API.
    pub destination: SocketAddr,
    /// Linkerd's policy API.
    pub policy: SocketAddr,
    /// Admin.
    pub admin: SocketAddr,
}

/// The control plane cannot start, or cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The manifests at the start.
    #[error(transparent)]
    Manifests(#[from] manifests::Error),
    /// Certificate, key or trust anchors at the start.
    #[error("cannot serve TLS")]
    Tls(#[from] tls::Error),
    /// A port.
    #[error("cannot listen on {addr} ({flag})")]
    Listen {
        /// Where.
        addr: SocketAddr,
        /// The flag that says so.
        flag: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// A part that should run for ever has ended.
    #[error("{part} ended")]
    Ended {
        /// Which.
        part: &'static str,
        /// Why, where that is known.
        source: Option<tonic::transport::Error>,
    },
    /// A part has panicked.
    #[error("a part of the process failed")]
    Failed(#[source] tokio::task::JoinError),
}

// === impl Error ===

impl Error {
    /// Whether what was configured is wrong, so that a restart would change nothing.
    pub fn is_configuration(&self) -> bool {
        matches!(self, Self::Manifests(_) | Self::Tls(_))
    }
}

// === impl Standalone ===

impl Standalone {
    /// Loads, binds, serves. Nothing is served unless everything could be loaded and bound.
    pub async fn start(args: Args) -> Result<Self, Error> {
        let mesh = mesh(&args);
        let identities = ["linkerd-autoregistration", "linkerd-destination"]
            .map(|name| mesh.control_identity(name));
        let (manifests, manifests_receiver) = manifests::Watch::load(args.standalone).await?;
        let (files, (material, anchors)) = tls::Files::load(tls::Paths {
            anchors: args.trust_anchors,
            certificate: args.tls_cert,
            key: args.tls_key,
            identities: identities.to_vec(),
        })
        .await?;
        let registration = bind(args.registration_listen, "--registration-listen").await?;
        let destination = bind(args.destination_listen, "--destination-listen").await?;
        let policy = bind(args.policy_listen, "--policy-listen").await?;
        let admin = bind(args.admin_listen, "--admin-listen").await?;
        let addresses = Addresses {
            registration: registration.1,
            destination: destination.1,
            policy: policy.1,
            admin: admin.1,
        };

        let metrics = Metrics::default();
        let (commands, commands_receiver) = mpsc::channel(COMMANDS);
        let (task, view) = Task::new(
            mesh,
            Inputs {
                commands: commands_receiver,
                manifests: manifests_receiver,
                anchors,
                store: Link::Memory(Memory::default()),
                others: None,
                metrics: metrics.clone(),
            },
        );
        let (stop, stopping) = watch::channel(false);
        let (ready, ready_receiver) = watch::channel(true);
        let accept = |name, listener, choose: Choose| {
            let acceptor = Acceptor {
                name,
                listener,
                material: material.clone(),
                choose,
                metrics: metrics.clone(),
            };
            acceptor.connections()
        };
        let server = |streams| {
            Server::builder()
                .max_concurrent_streams(streams)
                .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
                .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        };
        let service = Registration::new(
            args.trust_domain.without_dot(),
            commands.clone(),
            metrics.clone(),
        );

        let mut servers = JoinSet::new();
        let serving = server(REGISTRATION_STREAMS)
            .add_service(service.into_server())
            .serve_with_incoming_shutdown(
                accept("registration", registration.0, registration_config),
                stopped(stopping.clone()),
            );
        servers.spawn(async { ("registration", serving.await) });
        let serving = server(MESH_STREAMS)
            .add_service(crate::mesh::destination(view.clone(), metrics.clone()))
            .serve_with_incoming_shutdown(
                accept("destination", destination.0, mesh_config),
                stopped(stopping.clone()),
            );
        servers.spawn(async { ("destination", serving.await) });
        let serving = server(MESH_STREAMS)
            .add_service(crate::mesh::outbound(view.clone(), metrics.clone()))
            .add_service(crate::mesh::inbound(view.clone(), metrics.clone()))
            .serve_with_incoming_shutdown(
                accept("policy", policy.0, mesh_config),
                stopped(stopping),
            );
        servers.spawn(async { ("policy", serving.await) });

        let admin_service = Admin {
            registry: commands.clone(),
            ready: ready_receiver,
            metrics,
            started: time::OffsetDateTime::now_utc(),
        };
        let mut followers = JoinSet::new();
        followers.spawn(named("the registry", task.run()));
        followers.spawn(named("the watch of the manifests", manifests.run()));
        followers.spawn(named("the watch of the certificate", files.run()));
        followers.spawn(named("the admin port", admin_service.run(admin.0)));
        info!(
            registration = %addresses.registration,
            destination = %addresses.destination,
            policy = %addresses.policy,
            admin = %addresses.admin,
            "serving"
        );
        Ok(Self {
            addresses,
            view,
            commands,
            stop,
            ready,
            servers,
            followers,
        })
    }

    /// Runs until a part of it ends, which none should.
    pub async fn failed(&mut self) -> Error {
        let (part, source) = tokio::select! {
            Some(ended) = self.servers.join_next() => match ended {
                Ok((part, result)) => (part, result.err()),
                Err(error) => return Error::Failed(error),
            },
            Some(ended) = self.followers.join_next() => match ended {
                Ok(part) => (part, None),
                Err(error) => return Error::Failed(error),
            },
            else => ("everything", None),
        };
        Error::Ended { part, source }
    }

    /// Tells the harnesses to come again, closes the connections, ends.
    pub async fn stop(mut self) {
        self.ready.send_replace(false);
        // The registry may have ended, then there is nobody to tell.
        drop(self.commands.send(Command::Shutdown).await);
        self.stop.send_replace(true);
        let ended = async { while self.servers.join_next().await.is_some() {} };
        // What has not ended by then is closed with the process.
        drop(tokio::time::timeout(STOP_GRACE, ended).await);
        self.servers.shutdown().await;
        self.followers.shutdown().await;
    }
}

fn mesh(args: &Args) -> Mesh {
    Mesh {
        cluster_domain: args.cluster_domain.without_dot().to_owned(),
        identity_trust_domain: args.identity_trust_domain.without_dot().to_owned(),
        linkerd_namespace: args.linkerd_namespace.as_str().to_owned(),
        cluster_networks: args.cluster_networks.clone(),
        default_inbound_policy: args.default_inbound_policy.clone(),
        service_network: args.service_cidr,
        restore_window: args.restore_window,
        families: Families::All,
        default_access: DefaultAccess::TrustDomain,
        controller: format!("autoregistration {} standalone", env!("CARGO_PKG_VERSION")),
    }
}

async fn bind(addr: SocketAddr, flag: &'static str) -> Result<(TcpListener, SocketAddr), Error> {
    let fail = |source| Error::Listen { addr, flag, source };
    let listener = TcpListener::bind(addr).await.map_err(fail)?;
    let bound = listener.local_addr().map_err(fail)?;
    Ok((listener, bound))
}

async fn named(name: &'static str, task: impl Future<Output = ()>) -> &'static str {
    task.await;
    name
}

async fn stopped(mut stopping: watch::Receiver<bool>) {
    // An error means that the owner is gone, which is a stop as well.
    drop(stopping.wait_for(|stop| *stop).await);
}

fn registration_config(material: &Material) -> Arc<rustls::ServerConfig> {
    Arc::clone(&material.registration)
}

fn mesh_config(material: &Material) -> Arc<rustls::ServerConfig> {
    Arc::clone(&material.mesh)
}
