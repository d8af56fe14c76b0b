//! Simulated harnesses against a replica of `autoregistration`, until it is interrupted; a line every few seconds says how
//! they are.

#![expect(clippy::print_stdout, reason = "prints what it sees")]

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use clap::Parser;
use load::{Fleet, Plan};

/// Between two lines.
const LINE: Duration = Duration::from_secs(5);

/// Simulates harnesses, as they reach autoregistration through its pod's Linkerd proxy. It has to believe the header
/// l5d-client-id: run it on the same host, against a replica with `--identity sidecar`.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
struct Args {
    /// Where autoregistration takes VMs
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8081")]
    address: SocketAddr,

    /// How many VMs
    #[arg(long, value_name = "NUMBER", default_value = "1000")]
    vms: u32,

    /// On how many connections, each of an identity
    #[arg(long, value_name = "NUMBER", default_value = "100", value_parser = clap::value_parser!(u32).range(1..))]
    connections: u32,

    /// Group of the VMs
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = group, default_value = "load/load")]
    group: (String, String),

    /// SPIFFE trust domain of the VMs
    #[arg(
        long,
        value_name = "DOMAIN",
        default_value = "root.linkerd.cluster.local"
    )]
    trust_domain: String,

    /// Number of the first VM; those of other numbers are other machines
    #[arg(long, value_name = "NUMBER", default_value = "0")]
    first: u32,

    /// Seconds over which they begin
    #[arg(long, value_name = "SECONDS", default_value = "0")]
    over: u64,
}

fn group(text: &str) -> Result<(String, String), String> {
    let (namespace, name) = text.split_once('/').ok_or("write NAMESPACE/NAME")?;
    Ok((namespace.to_owned(), name.to_owned()))
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    let fleet = Fleet::start(&Plan {
        address: args.address,
        vms: args.vms,
        connections: args.connections,
        group: args.group,
        trust_domain: args.trust_domain,
        first: args.first,
        over: Duration::from_secs(args.over),
        heartbeat: None,
    })?;
    loop {
        tokio::time::sleep(LINE).await;
        let counts = fleet.seen().counts();
        println!(
            "{} of {} open, {} settled; join p50 {:?}, p99 {:?}; {counts:?}",
            counts.open,
            fleet.len(),
            counts.settled,
            fleet.seen().joins().permille(500),
            fleet.seen().joins().permille(990),
        );
    }
}
