//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::{Parser, Subcommand};
use ipnet::{IpNet, Ipv4Net};
use linkerd_harness_core::names::{DnsLabel, DnsName};

use crate::manifests::INBOUND_POLICIES;

/// Registers VMs in a Linkerd mesh.
///
/// Standalone, it is a small Linkerd control plane in one process, for labs and small meshes of VMs only: it reads
/// groups and Services from a directory, keeps its state in memory, and serves registration and Linkerd's
/// destination and policy APIs over mutual TLS.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "autoregistration",
    version,
    max_term_width = 100,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true
)]
pub struct CommandLine {
    /// Something to print instead of running.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// How to run.
    #[command(flatten)]
    pub args: Option<Args>,
}

/// Something to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Print the definition of `ExternalGroup`, for `kubectl apply --server-side -f -`
    Crds,
}

/// How to run standalone.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Directory with manifests (*.yaml, *.yml, *.json), followed when they change
    #[arg(long, value_name = "DIR")]
    pub standalone: PathBuf,

    /// Trust anchors of the mesh, PEM, followed when they change
    #[arg(long, value_name = "FILE")]
    pub trust_anchors: PathBuf,

    /// Certificate with its intermediates, PEM, with both DNS names linkerd-autoregistration.… and
    /// linkerd-destination.…; followed when it changes
    #[arg(long, value_name = "FILE")]
    pub tls_cert: PathBuf,

    /// Private key of the certificate, PEM
    #[arg(long, value_name = "FILE")]
    pub tls_key: PathBuf,

    /// Where VMs register
    #[arg(long, value_name = "ADDR", default_value = "0.0.0.0:8081")]
    pub registration_listen: SocketAddr,

    /// Where proxies ask Linkerd's destination API
    #[arg(long, value_name = "ADDR", default_value = "0.0.0.0:8086")]
    pub destination_listen: SocketAddr,

    /// Where proxies ask Linkerd's policy API
    #[arg(long, value_name = "ADDR", default_value = "0.0.0.0:8090")]
    pub policy_listen: SocketAddr,

    /// Where the state is shown: /live /ready /metrics /hosts /apis
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9990")]
    pub admin_listen: SocketAddr,

    /// Domain of Services: name.namespace.svc.DOMAIN
    #[arg(long, value_name = "DOMAIN", default_value = "cluster.local")]
    pub cluster_domain: DnsName,

    /// SPIFFE trust domain of the VMs
    #[arg(
        long,
        value_name = "DOMAIN",
        default_value = "root.linkerd.cluster.local"
    )]
    pub trust_domain: DnsName,

    /// Domain of Linkerd's own identities and of the VMs' server names
    #[arg(long, value_name = "DOMAIN", default_value = "cluster.local")]
    pub identity_trust_domain: DnsName,

    /// Namespace that stands in the names of the control plane
    #[arg(long, value_name = "NAME", default_value = "linkerd")]
    pub linkerd_namespace: DnsLabel,

    /// Networks of the VMs and Services
    #[arg(
        long,
        value_name = "CIDR,…",
        value_delimiter = ',',
        default_value = "10.0.0.0/8,100.64.0.0/10,172.16.0.0/12,192.168.0.0/16,fd00::/8"
    )]
    pub cluster_networks: Vec<IpNet>,

    /// Policy of a port for which nothing else is said
    #[arg(
        long,
        value_name = "POLICY",
        value_parser = PossibleValuesParser::new(INBOUND_POLICIES),
        default_value = "all-unauthenticated"
    )]
    pub default_inbound_policy: String,

    /// Network in which a Service without spec.clusterIP gets an address, computed from its name
    #[arg(long, value_name = "CIDR", value_parser = service_network, default_value = "10.96.0.0/16")]
    pub service_cidr: Ipv4Net,

    /// After a start, how long VMs have to come back before an unknown address is called unknown
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "10s")]
    pub restore_window: Duration,

    /// How log lines look
    #[arg(long, value_enum, default_value = "text")]
    pub log_format: LogFormat,
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
        let args = parse(&REQUIRED).unwrap().args.unwrap();
        assert_eq!(args.registration_listen.port(), 8081);
        assert_eq!(args.trust_domain.as_str(), "root.linkerd.cluster.local");
        assert_eq!(args.cluster_networks.len(), 5);
        assert_eq!(args.restore_window, Duration::from_secs(10));
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
        ] {
            assert!(parse(REQUIRED.iter().chain(&bad)).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn definitions_are_printed_without_anything_that_running_needs() {
        let line = parse(&["autoregistration", "crds"]).unwrap();
        assert_eq!(line.command, Some(Command::Crds));
        assert!(line.args.is_none());
        assert!(parse(REQUIRED.iter().chain(&["crds"])).is_err());
        for missing in [1, 3, 5, 7] {
            let mut short = REQUIRED.to_vec();
            short.drain(missing..missing + 2);
            assert!(parse(&short).is_err(), "{short:?}");
        }
        assert!(parse(&["autoregistration"]).is_err());
    }
}
