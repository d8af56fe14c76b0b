//! The whole process: what is loaded and bound, in which order, and how it ends.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tracing::info;

use crate::admin::Admin;
use crate::args::Args;
use crate::linkerd::{Flags, Settings};
use crate::manifests::watch as manifests;
use crate::metrics::Metrics;
pub use crate::process::Error;
use crate::process::{Parts, bind, server};
use crate::registration::{REQUEST_TIMEOUT, Registration};
use crate::registry::task::{Command, Inputs, Link, Task};
use crate::registry::{Families, Reconnect, Rules};
use crate::store::memory::Memory;
use crate::tls::Material;
use crate::tls::acceptor::{Acceptor, Choose};
use crate::tls::files as tls;
use crate::view::View;

/// A harness has a connection of its own and needs one stream, two while it changes, and now and then a `Check`.
const REGISTRATION_STREAMS: u32 = 16;
/// A proxy has one for each of its destinations; one too many would hang without a word.
const MESH_STREAMS: u32 = 1 << 20;
/// First retries of a lost stream spread over this; small, because a mesh without a cluster is.
const RECONNECT_WINDOW: Duration = Duration::from_secs(2);
/// Where the state is shown.
const ADMIN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9990);
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
    ready: watch::Sender<bool>,
    parts: Parts,
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

// === impl Standalone ===

impl Standalone {
    /// Loads, binds, serves. Nothing is served unless everything could be loaded and bound.
    pub async fn start(directory: PathBuf, args: Args) -> Result<Self, Error> {
        let (rules, flags) = (rules(&args), flags(&args));
        let (manifests, manifests_receiver) = manifests::Watch::load(directory).await?;
        let (files, (material, anchors)) = tls::Files::load(tls::Paths {
            anchors: args.tls.trust_anchors.unwrap_or_default(),
            certificate: args.tls.tls_cert.unwrap_or_default(),
            key: args.tls.tls_key.unwrap_or_default(),
            identities: identities(&flags),
        })
        .await?;
        let registration = bind(args.registration_listen, "--registration-listen").await?;
        let destination = bind(args.mesh.destination_listen, "--destination-listen").await?;
        let policy = bind(args.mesh.policy_listen, "--policy-listen").await?;
        let admin = bind(args.admin_listen.unwrap_or(ADMIN), "--admin-listen").await?;
        let addresses = Addresses {
            registration: registration.1,
            destination: destination.1,
            policy: policy.1,
            admin: admin.1,
        };

        let metrics = Metrics::default();
        let (commands, commands_receiver) = mpsc::channel(COMMANDS);
        let first = Arc::clone(&anchors.borrow());
        let settings = Settings::from_flags(flags.clone(), first);
        let (settings, settings_receiver) = watch::channel(Arc::new(settings));
        let (task, view) = Task::new(
            rules,
            Inputs {
                commands: commands_receiver,
                manifests: manifests_receiver,
                settings: settings_receiver,
                store: Link::Memory(Memory::default()),
                others: None,
                metrics: metrics.clone(),
            },
        );
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
        let service = Registration::new(
            args.trust_domain.without_dot(),
            commands.clone(),
            metrics.clone(),
        );

        let mut parts = Parts::new();
        let serving = server(REGISTRATION_STREAMS)
            .timeout(REQUEST_TIMEOUT)
            .add_service(service.into_server())
            .serve_with_incoming_shutdown(
                accept("registration", registration.0, registration_config),
                parts.stopped(),
            );
        parts.serve("registration", serving);
        let serving = server(MESH_STREAMS)
            .add_service(crate::mesh::destination(view.clone(), metrics.clone()))
            .serve_with_incoming_shutdown(
                accept("destination", destination.0, mesh_config),
                parts.stopped(),
            );
        parts.serve("destination", serving);
        let serving = server(MESH_STREAMS)
            .add_service(crate::mesh::outbound(view.clone(), metrics.clone()))
            .add_service(crate::mesh::inbound(view.clone(), metrics.clone()))
            .serve_with_incoming_shutdown(accept("policy", policy.0, mesh_config), parts.stopped());
        parts.serve("policy", serving);

        let admin_service = Admin {
            registry: commands.clone(),
            lists: true,
            ready: ready_receiver,
            metrics,
            started: time::OffsetDateTime::now_utc(),
        };
        parts.follow("the registry", task.run());
        parts.follow("the watch of the manifests", manifests.run());
        parts.follow("the watch of the certificate", files.run());
        parts.follow(
            "the watch of the trust anchors",
            follow_anchors(flags, anchors, settings),
        );
        parts.follow("the admin port", admin_service.run(admin.0));
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
            ready,
            parts,
        })
    }

    /// Runs until a part of it ends, which none should.
    pub async fn failed(&mut self) -> Error {
        self.parts.failed().await
    }

    /// Tells the harnesses to come again, closes the connections, ends.
    pub async fn stop(self) {
        self.ready.send_replace(false);
        // The registry may have ended, then there is nobody to tell.
        drop(self.commands.send(Command::Shutdown).await);
        self.parts.end().await;
    }
}

/// What the mesh is told by its flags, around the newest trust anchors.
async fn follow_anchors(
    flags: Flags,
    mut anchors: watch::Receiver<Arc<str>>,
    settings: watch::Sender<Arc<Settings>>,
) {
    while anchors.changed().await.is_ok() {
        let anchors = Arc::clone(&anchors.borrow_and_update());
        settings.send_replace(Arc::new(Settings::from_flags(flags.clone(), anchors)));
    }
}

fn flags(args: &Args) -> Flags {
    Flags {
        cluster_domain: args.mesh.cluster_domain.without_dot().to_owned(),
        identity_trust_domain: args.mesh.identity_trust_domain.without_dot().to_owned(),
        linkerd_namespace: args.linkerd_namespace.as_str().to_owned(),
        cluster_networks: args.mesh.cluster_networks.clone(),
        default_inbound_policy: args.mesh.default_inbound_policy.clone(),
    }
}

/// The names in our certificate.
fn identities(flags: &Flags) -> Vec<String> {
    let settings = Settings::from_flags(flags.clone(), Arc::from(""));
    ["linkerd-autoregistration", "linkerd-destination"]
        .map(|name| settings.control_identity(name))
        .to_vec()
}

fn rules(args: &Args) -> Rules {
    Rules {
        service_network: args.mesh.service_cidr,
        restore_window: args.mesh.restore_window,
        disconnect_grace: args.disconnect_grace,
        workload_ttl: args.workload_ttl,
        reconnect: Reconnect::Within(RECONNECT_WINDOW),
        families: Families::All,
        default_access: args.default_access,
        controller: format!("autoregistration {} standalone", env!("CARGO_PKG_VERSION")),
    }
}

fn registration_config(material: &Material) -> Arc<rustls::ServerConfig> {
    Arc::clone(&material.registration)
}

fn mesh_config(material: &Material) -> Arc<rustls::ServerConfig> {
    Arc::clone(&material.mesh)
}
