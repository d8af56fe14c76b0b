//! The command line.

#[cfg(test)]
mod tests;
mod value;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::{Parser, Subcommand};
use ipnet::{IpNet, Ipv4Net};
use linkerd_harness_core::names::{DnsLabel, DnsName};
use linkerd_harness_core::proxy_env::INBOUND_POLICIES;

use self::value::{duration, grace, service_network};
use crate::registry::DefaultAccess;

/// Registers VMs in a Linkerd mesh.
///
/// In a cluster it reads `ExternalGroup`s and keeps `ExternalWorkload`s, which Linkerd's own controllers serve. With
/// --standalone it is a small Linkerd control plane in one process, for labs and small meshes of VMs only: it reads groups
/// and Services from a directory, keeps its state in memory, and serves registration and Linkerd's destination and
/// policy APIs over mutual TLS.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "autoregistration",
    version,
    max_term_width = 100,
    args_conflicts_with_subcommands = true
)]
pub struct CommandLine {
    /// Something to print instead of running.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// How to run.
    #[command(flatten)]
    pub args: Args,
}

/// Something to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Print the definition of `ExternalGroup`, for `kubectl apply --server-side -f -`
    Crds,
}

/// How to run.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Run without a cluster, on the manifests of this directory (*.yaml, *.yml, *.json), followed when they change
    #[arg(
        long,
        value_name = "DIR",
        requires_all = ["tls_cert", "tls_key", "trust_anchors"]
    )]
    pub standalone: Option<PathBuf>,

    /// How log lines look
    #[arg(long, value_enum, default_value = "text")]
    pub log_format: LogFormat,

    /// Where VMs register
    #[arg(long, value_name = "ADDR", default_value = "0.0.0.0:8081")]
    pub registration_listen: SocketAddr,

    /// Where the state is shown: /live /ready /metrics /apis, standalone also /hosts [default: 0.0.0.0:9990,
    /// standalone 127.0.0.1:9990]
    #[arg(long, value_name = "ADDR")]
    pub admin_listen: Option<SocketAddr>,

    /// SPIFFE trust domain of the VMs
    #[arg(
        long,
        value_name = "DOMAIN",
        default_value = "root.linkerd.cluster.local"
    )]
    pub trust_domain: DnsName,

    /// Namespace of Linkerd; standalone, the one that stands in the names of the control plane
    #[arg(long, value_name = "NAME", default_value = "linkerd")]
    pub linkerd_namespace: DnsLabel,

    /// Who may join a group that does not say
    #[arg(long, value_enum, default_value = "trust-domain")]
    pub default_access: DefaultAccess,

    /// How long a VM whose session was lost is believed to be well
    #[arg(long, value_name = "DURATION", value_parser = grace, default_value = "45s")]
    pub disconnect_grace: Duration,

    /// How long a VM that is away is waited for before its workload is removed
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "15m")]
    pub workload_ttl: Duration,

    /// Settings of TLS
    #[command(flatten)]
    pub tls: Tls,

    /// Settings of a cluster.
    #[command(flatten)]
    pub cluster: Cluster,

    /// Settings without a cluster.
    #[command(flatten)]
    pub mesh: Mesh,
}

/// Our own TLS.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "TLS (standalone, or --identity tls)")]
pub struct Tls {
    /// Trust anchors of the mesh, PEM, followed when they change
    #[arg(long, value_name = "FILE", required_if_eq("identity", "tls"))]
    pub trust_anchors: Option<PathBuf>,

    /// Certificate with its intermediates, PEM, with the DNS name linkerd-autoregistration.…, standalone also
    /// linkerd-destination.…; followed when it changes
    #[arg(long, value_name = "FILE", required_if_eq("identity", "tls"))]
    pub tls_cert: Option<PathBuf>,

    /// Private key of the certificate, PEM
    #[arg(long, value_name = "FILE", required_if_eq("identity", "tls"))]
    pub tls_key: Option<PathBuf>,
}

/// In a cluster.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "In a cluster")]
pub struct Cluster {
    /// Who says who a caller is: the pod's Linkerd proxy, or our own TLS
    #[arg(
        long,
        value_enum,
        default_value = "sidecar",
        conflicts_with = "standalone"
    )]
    pub identity: Identity,

    /// How to reach the API server; the pod's own access when it is left out
    #[arg(long, value_name = "FILE", conflicts_with = "standalone")]
    pub kubeconfig: Option<PathBuf>,

    /// Our namespace
    #[arg(
        long,
        value_name = "NAME",
        env = "POD_NAMESPACE",
        default_value = "default"
    )]
    pub namespace: DnsLabel,

    /// Our name among the replicas
    #[arg(
        long,
        value_name = "NAME",
        env = "POD_NAME",
        default_value = "autoregistration"
    )]
    pub pod_name: String,

    /// Namespaces whose groups VMs can join; all when it is left out
    #[arg(
        long,
        value_name = "NAME,…",
        value_delimiter = ',',
        conflicts_with = "standalone"
    )]
    pub watch_namespaces: Vec<DnsLabel>,

    /// Our addresses; only from these and from loopback the pod's proxy is believed
    #[arg(long, value_name = "IP,…", env = "POD_IPS", value_delimiter = ',')]
    pub pod_ips: Vec<IpAddr>,

    /// Where other replicas ask
    #[arg(
        long,
        value_name = "ADDR",
        default_value = "0.0.0.0:8082",
        conflicts_with = "standalone"
    )]
    pub peer_listen: SocketAddr,

    /// Headless Service of the replicas; left out where there is but one
    #[arg(long, value_name = "NAME", conflicts_with = "standalone")]
    pub peer_service: Option<DnsLabel>,

    /// Lease by which the replicas agree on who says that VMs are lost
    #[arg(
        long,
        value_name = "NAME",
        default_value = "linkerd-autoregistration",
        conflicts_with = "standalone"
    )]
    pub lease_name: String,

    /// Writes a second to the API server in the long run
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=10_000), default_value = "50", conflicts_with = "standalone")]
    pub writes_per_second: u32,
}

/// Without a cluster.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Standalone")]
pub struct Mesh {
    /// Where proxies ask Linkerd's destination API
    #[arg(
        long,
        value_name = "ADDR",
        default_value = "0.0.0.0:8086",
        requires = "standalone"
    )]
    pub destination_listen: SocketAddr,

    /// Where proxies ask Linkerd's policy API
    #[arg(
        long,
        value_name = "ADDR",
        default_value = "0.0.0.0:8090",
        requires = "standalone"
    )]
    pub policy_listen: SocketAddr,

    /// Domain of Services: name.namespace.svc.DOMAIN
    #[arg(
        long,
        value_name = "DOMAIN",
        default_value = "cluster.local",
        requires = "standalone"
    )]
    pub cluster_domain: DnsName,

    /// Domain of Linkerd's own identities and of the VMs' server names
    #[arg(
        long,
        value_name = "DOMAIN",
        default_value = "cluster.local",
        requires = "standalone"
    )]
    pub identity_trust_domain: DnsName,

    /// Networks of the VMs and Services
    #[arg(
        long,
        value_name = "CIDR,…",
        value_delimiter = ',',
        default_value = "10.0.0.0/8,100.64.0.0/10,172.16.0.0/12,192.168.0.0/16,fd00::/8",
        requires = "standalone"
    )]
    pub cluster_networks: Vec<IpNet>,

    /// Policy of a port for which nothing else is said
    #[arg(
        long,
        value_name = "POLICY",
        value_parser = PossibleValuesParser::new(INBOUND_POLICIES),
        default_value = "all-unauthenticated",
        requires = "standalone"
    )]
    pub default_inbound_policy: String,

    /// Network in which a Service without spec.clusterIP gets an address, computed from its name
    #[arg(long, value_name = "CIDR", value_parser = service_network, default_value = "10.96.0.0/16", requires = "standalone")]
    pub service_cidr: Ipv4Net,

    /// After a start, how long VMs have to come back before an unknown address is called unknown
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "10s", requires = "standalone")]
    pub restore_window: Duration,
}

/// Who says who a caller is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Identity {
    /// The pod's Linkerd proxy, with a header.
    Sidecar,
    /// Our own TLS.
    Tls,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}
