//! A replica with threads of its own, so that it can be killed.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use autoregistration::args::{Args, CommandLine};
use autoregistration::balance::Pace;
use autoregistration::cluster::{Addresses, Cluster};
use clap::Parser as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use super::Mesh;
use super::mesh::{OURS, address, peers, until};
use crate::cluster::DEADLINE;

/// More than twice the time between two questions of a leader, so that one which did not wait for it would be noticed.
pub(super) const GRACE: Duration = Duration::from_secs(25);
/// For those who wait until a workload is removed: there is time to see it marked before.
pub(super) const TTL: Duration = Duration::from_secs(45);

pub(super) struct Replica {
    pub(super) name: String,
    pub(super) addresses: Addresses,
    cluster: Option<Cluster>,
    runtime: Option<Runtime>,
}

/// How a replica is started.
pub(super) struct Plan {
    pub(super) name: String,
    pub(super) args: Args,
    pub(super) pace: Pace,
}

pub(super) fn name(number: u8) -> String {
    format!("replica-{number}")
}

/// All metrics, as they are read from the admin port.
pub(super) async fn scrape(admin: SocketAddr) -> String {
    get(admin, "/metrics").await
}

/// What an admin port answers, with the head.
pub(super) async fn get(admin: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(admin).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

// === impl Plan ===

impl Plan {
    /// At an address of its own.
    pub(super) fn new(mesh: &Mesh, number: u8) -> Self {
        let name = name(number);
        let ip = mesh.ip(number);
        let any = format!("{ip}:0");
        // Known before it is there, as in a cluster.
        let free = TcpListener::bind((address(), 0)).unwrap();
        let listen = free.local_addr().unwrap().to_string();
        let kubeconfig = mesh.kubeconfig.display().to_string();
        let words = [
            "autoregistration",
            "--kubeconfig",
            &kubeconfig,
            "--registration-listen",
            &any,
            "--peer-listen",
            &listen,
            "--admin-listen",
            &any,
            "--identity",
            "sidecar",
            "--namespace",
            OURS,
            "--pod-name",
            &name,
            "--pod-ips",
            &ip.to_string(),
            "--peer-service",
            &peers(&name),
        ];
        let mut args = CommandLine::try_parse_from(words).unwrap().args;
        args.disconnect_grace = GRACE;
        Self {
            name,
            args,
            pace: Pace::default(),
        }
    }

    pub(super) fn ttl(mut self, ttl: Duration) -> Self {
        self.args.workload_ttl = ttl;
        self
    }

    pub(super) fn watch(mut self, namespaces: &[&str]) -> Self {
        let names = namespaces.iter().map(|name| name.parse().unwrap());
        self.args.cluster.watch_namespaces = names.collect();
        self
    }

    pub(super) fn grace(mut self, grace: Duration) -> Self {
        self.args.disconnect_grace = grace;
        self
    }

    /// VMs are sent to other replicas at this pace.
    pub(super) fn pace(mut self, pace: Pace) -> Self {
        self.pace = pace;
        self
    }

    pub(super) async fn start(self) -> Replica {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let starting = timeout(
            DEADLINE,
            runtime.spawn(Cluster::start_at(self.args, self.pace)),
        );
        let cluster = starting.await.unwrap().unwrap().unwrap();
        Replica {
            name: self.name,
            addresses: cluster.addresses,
            cluster: Some(cluster),
            runtime: Some(runtime),
        }
    }
}

// === impl Replica ===

impl Replica {
    /// As SIGTERM does.
    pub(super) async fn stop(mut self) {
        let cluster = self.cluster.take().unwrap();
        let runtime = self.runtime.take().unwrap();
        let stopped = timeout(DEADLINE, runtime.spawn(cluster.stop())).await;
        runtime.shutdown_background();
        stopped.unwrap().unwrap();
    }

    /// As SIGKILL does.
    pub(super) fn kill(self) {
        drop(self);
    }

    pub(super) fn registration(&self) -> SocketAddr {
        self.addresses.registration
    }

    /// Waits until it has looked for the lost so many more times, with this end.
    pub(super) async fn looks(&self, outcome: &str, times: u64) {
        let line = format!("autoregistration_sweeps_total{{outcome=\"{outcome}\"}}");
        let enough = self.metric(&line).await + times;
        // Each is a period after the one before, and the last of many would come after the deadline of one.
        for least in (enough - times..=enough).skip(1) {
            until("the leader has looked", || async {
                (self.metric(&line).await >= least).then_some(())
            })
            .await;
        }
    }

    /// What its admin port answers, with the head.
    pub(super) async fn get(&self, path: &str) -> String {
        get(self.addresses.admin, path).await
    }

    /// The value of a line of its metrics; 0 when there is none.
    pub(super) async fn metric(&self, line: &str) -> u64 {
        let text = scrape(self.addresses.admin).await;
        let value = text.lines().find_map(|found| found.strip_prefix(line));
        value.map_or(0, |value| value.trim().parse().unwrap())
    }
}

/// The leader among these, as they see it themselves.
pub(super) async fn leads(replicas: &[Replica]) -> Option<&Replica> {
    for replica in replicas {
        if replica.metric("autoregistration_leader").await == 1 {
            return Some(replica);
        }
    }
    None
}

impl Drop for Replica {
    fn drop(&mut self) {
        drop(self.cluster.take());
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
