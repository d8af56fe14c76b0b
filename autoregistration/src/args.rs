//! The command line.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::{Parser, Subcommand};
use ipnet::{IpNet, Ipv4Net};
use linkerd_harness_core::names::{DnsLabel, DnsName};

use crate::manifests::INBOUND_POLICIES;
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

fn service_network(text: &str) -> Result<Ipv4Net, String> {
    let network = text
        .parse::<Ipv4Net>()
        .map_err(|_invalid| "is not an IPv4 network (for example 10.96.0.0/16)".to_owned())?;
    if network.prefix_len() > 28 {
        return Err("is too small; at most /28".to_owned());
    }
    if network.network().is_loopback() {
        return Err("is a loopback network, which proxies leave alone".to_owned());
    }
    Ok(network.trunc())
}

/// A VM opens a new session within 30 s of losing one, so that a shorter grace would call living VMs lost.
fn grace(text: &str) -> Result<Duration, String> {
    let grace = duration(text)?;
    if grace < Duration::from_secs(30) {
        return Err("is too short; at least 30s, for VMs to come back after a restart".to_owned());
    }
    Ok(grace)
}

/// `500ms`, `10s`, `2m`.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = text.strip_prefix(digits).unwrap_or_default();
    let problem = || "is not a duration (for example 500ms, 10s or 2m)".to_owned();
    let number = digits.parse::<u32>().map_err(|_invalid| problem())?;
    match unit {
        "ms" => Ok(Duration::from_millis(number.into())),
        "s" => Ok(Duration::from_secs(number.into())),
        "m" => Ok(Duration::from_secs(u64::from(number) * 60)),
        _ => Err(problem()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUIRED: [&str; 9] = [
        "autoregistration",
        "--standalone",
        "d",
        "--trust-anchors",
        "a",
        "--tls-cert",
        "c",
        "--tls-key",
        "k",
    ];

    fn parse<'a>(line: impl IntoIterator<Item = &'a &'a str>) -> Result<CommandLine, clap::Error> {
        CommandLine::try_parse_from(line)
    }

    #[test]
    fn the_defaults_are_those_of_the_walkthrough() {
        let args = parse(&REQUIRED).unwrap().args;
        assert_eq!(args.registration_listen.port(), 8081);
        assert_eq!(args.trust_domain.as_str(), "root.linkerd.cluster.local");
        assert_eq!(args.mesh.cluster_networks.len(), 5);
        assert_eq!(args.mesh.restore_window, Duration::from_secs(10));
    }

    #[test]
    fn a_cluster_needs_nothing_but_itself_and_tls_its_files() {
        let line = parse(&["autoregistration"]).unwrap();
        assert_eq!(line.args.standalone, None);
        assert_eq!(line.args.cluster.identity, Identity::Sidecar);
        let tls = ["autoregistration", "--identity", "tls"];
        let files = ["--tls-cert", "c", "--tls-key", "k", "--trust-anchors", "a"];
        assert!(parse(tls.iter().chain(&files)).is_ok());
        for missing in [0, 2, 4] {
            let mut short = files.to_vec();
            short.drain(missing..missing + 2);
            assert!(parse(tls.iter().chain(&short)).is_err(), "{short:?}");
        }
    }

    #[test]
    fn bad_values_are_refused() {
        for bad in [
            ["--service-cidr", "10.0.0.0/30"],
            ["--service-cidr", "127.0.0.0/8"],
            ["--service-cidr", "fd00::/64"],
            ["--restore-window", "10"],
            ["--restore-window", "-1s"],
            ["--default-inbound-policy", "open"],
            ["--cluster-domain", "a..b"],
            ["--linkerd-namespace", "a.b"],
            ["--cluster-networks", "10.0.0.0/8,x"],
            ["--policy-listen", "8090"],
            ["--disconnect-grace", "29s"],
            ["--default-access", "everybody"],
            // Of a cluster.
            ["--identity", "tls"],
            ["--peer-service", "peers"],
            ["--kubeconfig", "k"],
            ["--writes-per-second", "50"],
            ["--watch-namespaces", "training"],
        ] {
            assert!(parse(REQUIRED.iter().chain(&bad)).is_err(), "{bad:?}");
        }
        for bad in [
            ["--writes-per-second", "0"],
            ["--pod-ips", "10.0.0.1,x"],
            ["--identity", "header"],
            ["--watch-namespaces", "training,a.b"],
            ["--watch-namespaces", ""],
            // Without one.
            ["--service-cidr", "10.96.0.0/16"],
            ["--destination-listen", "0.0.0.0:8086"],
        ] {
            let line = ["autoregistration"].iter().chain(&bad);
            assert!(parse(line).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn definitions_are_printed_without_anything_that_running_needs() {
        let line = parse(&["autoregistration", "crds"]).unwrap();
        assert_eq!(line.command, Some(Command::Crds));
        assert!(parse(REQUIRED.iter().chain(&["crds"])).is_err());
        for missing in [3, 5, 7] {
            let mut short = REQUIRED.to_vec();
            short.drain(missing..missing + 2);
            assert!(parse(&short).is_err(), "{short:?}");
        }
    }
}
