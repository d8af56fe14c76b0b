//! Linkerd's controllers beside a test's API server: its own where the environment names them, else the STAND-IN.

use std::net::{IpAddr, SocketAddr};
use std::ops::Deref;
use std::sync::Once;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Service;
use lab::apiserver::ApiServer;
use lab::controllers::{Addresses, Controllers, Running, definitions};
use serde_json::json;
use stand_in_controllers::{Arguments, run};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::Mesh;
use super::mesh::{LINKERD, NAMESPACE, until};
use crate::cluster::Cluster;

/// Of the last part of an address; replicas have others.
const NUMBER: u8 = 86;
/// The Service that the VMs are behind.
pub(super) const SERVICE: &str = "training-vm";
static SAID: Once = Once::new();

/// A cluster with Linkerd's controllers.
pub(super) struct Linkerd {
    mesh: Mesh,
    pub(super) addresses: Addresses,
    own: Running,
    stand_in: JoinHandle<()>,
}

// === impl Linkerd ===

impl Linkerd {
    /// With a group, a Service of its workloads, and nobody in them.
    pub(super) async fn start() -> Self {
        let server = tokio::task::spawn_blocking(|| ApiServer::start().unwrap());
        let server = server.await.unwrap();
        let cluster = Cluster::at(&server).await;
        for definition in definitions() {
            let definition = serde_json::from_value(definition).unwrap();
            cluster.install(&definition).await;
        }
        let mesh = Mesh::on(server, &cluster).await;
        let service = json!({ "spec": {
            "selector": { "app": "training" },
            "ports": [{ "name": "http", "port": 80, "targetPort": "http" }],
        } });
        mesh.put::<Service>(NAMESPACE, SERVICE, service).await;
        // The policy controller's lease is owned by it.
        let labels = json!({ "app": "destination" });
        let deployment = json!({ "spec": {
            "selector": { "matchLabels": labels },
            "template": {
                "metadata": { "labels": labels },
                "spec": { "containers": [{ "name": "policy", "image": "none" }] },
            },
        } });
        mesh.put::<Deployment>(LINKERD, "linkerd-destination", deployment)
            .await;

        let controllers = Controllers::find().unwrap();
        #[expect(
            clippy::print_stdout,
            reason = "which ones a test ran with must be seen"
        )]
        SAID.call_once(|| println!("{}", controllers.describe()));
        let addresses = Addresses::on(IpAddr::V4(mesh.ip(NUMBER)));
        let arguments = Arguments {
            kubeconfig: mesh.kubeconfig.clone(),
            destination_listen: or_none(controllers.destination.as_ref(), addresses.destination),
            policy_listen: or_none(controllers.policy.as_ref(), addresses.policy),
        };
        let stand_in = tokio::spawn(async { run(arguments).await.unwrap() });
        let kubeconfig = mesh.kubeconfig.clone();
        let own = tokio::task::spawn_blocking(move || {
            controllers.start(&kubeconfig, addresses, &[]).unwrap()
        });
        let linkerd = Self {
            mesh,
            addresses,
            own: own.await.unwrap(),
            stand_in,
        };
        for addr in [addresses.destination, addresses.policy] {
            until("a controller listens", || async {
                TcpStream::connect(addr).await.ok()
            })
            .await;
        }
        linkerd
    }

    /// What Linkerd's own has logged as errors; nothing where the stand-in is.
    pub(super) fn errors(&self) -> Vec<String> {
        let log = self.own.destination_log();
        let lines = log.lines().filter(|line| line.contains("level=error"));
        // Said of every stream whose proxy is on no node, as VMs are.
        let lines = lines.filter(|line| !line.contains("Failed to get node topology zone"));
        lines.map(str::to_owned).collect()
    }

    pub(super) fn policy_log(&self) -> String {
        self.own.policy_log()
    }
}

impl Deref for Linkerd {
    type Target = Mesh;

    fn deref(&self) -> &Mesh {
        &self.mesh
    }
}

impl Drop for Linkerd {
    fn drop(&mut self) {
        self.stand_in.abort();
    }
}

/// Where the stand-in listens, unless Linkerd's own does.
fn or_none<T>(own: Option<&T>, addr: SocketAddr) -> Option<SocketAddr> {
    own.is_none().then_some(addr)
}
