//! The daemon's configuration: `linkerd-proxy-harness.cfg`, JSON, with the keys of the commercial harness.
//!
//! A [`Config`] cannot be wrong: it is made by parsing, which reports every problem at once.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use crate::names::{DnsName, GroupRef, HostPort, PortRange};

mod build;
mod edit;
mod key;
mod keys;
mod near;
mod node;
mod problem;
mod reader;
mod setting;
mod structure;
mod value;

pub use self::edit::edit;
pub use self::key::{Fallback, Key, Kind};
pub use self::keys::KEYS;
pub use self::problem::{Problem, Problems};
pub use self::setting::{Setting, Source, settings};
pub use self::value::duration;

/// Where the configuration lives.
pub const PATH: &str = "/var/lib/linkerd/linkerd-proxy-harness.cfg";

/// The configuration, complete and checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `WorkloadGroup.Namespace`, `WorkloadGroup.Name`: the `ExternalGroup` that this VM joins. Required.
    pub group: GroupRef,
    /// `Workload.Labels`: what this VM says of itself beside its group's labels. None.
    pub labels: BTreeMap<String, String>,
    /// `Control.*`: autoregistration. Required.
    pub control: Control,
    /// `Identity.*`: SPIRE.
    pub identity: Identity,
    /// `Proxy.*`: Linkerd's proxy.
    pub proxy: Proxy,
    /// What is redirected.
    pub redirect: Redirect,
    /// `AdminAddress`: where `/live`, `/ready`, `/metrics`, `/status` are served. `127.0.0.1:4192`.
    pub admin_address: SocketAddr,
    /// `Health.*`: the group's probes.
    pub health: Health,
    /// `Dns.*`: the resolver.
    pub dns: Dns,
    /// `LogLevel`: `info`, or a filter such as `info,identity=debug`.
    pub log_level: String,
    /// `LogFormat`: `plain` or `json`.
    pub log_format: LogFormat,
}

/// `Control.*`: where and who autoregistration is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// `Control.Address`, flag `--control-plane-address`.
    pub address: HostPort,
    /// `Control.ServerId`, flag `--control-plane-identity`: SNI, and the name its certificate must carry.
    pub server_id: DnsName,
}

/// `Identity.*`: the SPIRE agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// `Identity.SpireSocketAddress`: a path, or `unix:///path`. `/tmp/spire-agent/public/api.sock`.
    pub spire_socket: PathBuf,
    /// `Identity.SpiffeId`: which identity to use when SPIRE gives several.
    pub spiffe_id: Option<String>,
    /// `Identity.TrustAnchors`: file with PEM certificates that sign the control plane; default: SPIRE's bundle.
    pub trust_anchors: Option<PathBuf>,
    /// `Identity.Backoff`: between attempts to reach the agent.
    pub backoff: Backoff,
}

/// Exponential backoff.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// `Min`: first wait. `100ms`.
    pub min: Duration,
    /// `Max`: longest wait, at least `Min`. `1s`.
    pub max: Duration,
    /// `Jitter`: share of each wait that is random, in percent. Written as a fraction, `0.1`.
    pub jitter_percent: u8,
}

/// Linkerd's proxy on this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// `ProxyPath`: the binary. `/var/lib/linkerd/bin/linkerd2-proxy`.
    pub path: PathBuf,
    /// `ProxyUserID`: its uid, whose traffic is not redirected; default: that of user `proxyharness`.
    pub user_id: Option<u32>,
    /// `InboundListenAddress`: `0.0.0.0:4143`.
    pub inbound_listen: SocketAddr,
    /// `OutboundListenAddresses`: one or two (one a family). `127.0.0.1:4140`.
    pub outbound_listen: Vec<SocketAddr>,
    /// `ProxyAdminAddress`: `127.0.0.1:4191`.
    pub admin_listen: SocketAddr,
    /// `ProxyLogLevel`: the proxy's own filter. `warn,linkerd=info,hickory=error`.
    pub log_level: String,
    /// `ShutdownGracePeriod`: how long open connections may finish. `30s`.
    pub shutdown_grace: Duration,
    /// `AdvertiseAddresses`: addresses to register; default: that of the route to the control plane.
    pub advertise: Vec<IpAddr>,
}

/// `Health.*`: what the group's probes may do here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// `AllowExecProbes`: whether they may run programs. `false`.
    pub allow_exec_probes: bool,
}

/// What of the host's traffic goes through the proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// `PortsToRedirect`: inbound; empty means all.
    pub inbound_ports: Vec<PortRange>,
    /// `InboundPortsToIgnore`: `4567`, `4568`.
    pub inbound_ignore: Vec<PortRange>,
    /// `OutboundPortsToIgnore`: `4567`, `4568`.
    pub outbound_ignore: Vec<PortRange>,
    /// `SubnetsToIgnore`: inbound by source, outbound by destination.
    pub subnets_ignore: Vec<IpNet>,
    /// `SubnetsToRedirect`: outbound by destination; empty means all.
    pub subnets_redirect: Vec<IpNet>,
    /// `IPv6`: both families. `false`.
    pub ipv6: bool,
    /// `IPTablesMode`: `auto`, `nft`, `legacy`, `nftables`.
    pub mode: Mode,
    /// `FailurePolicy`: what becomes of the host's traffic when the proxy cannot serve. `open` or `closed`.
    pub failure_policy: FailurePolicy,
}

/// Which firewall backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// The one that the host already uses.
    #[default]
    Auto,
    /// `iptables-nft`.
    Nft,
    /// `iptables-legacy`.
    Legacy,
    /// A table of our own, by `nft`.
    Nftables,
}

/// What becomes of the host's traffic when the proxy cannot serve.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FailurePolicy {
    /// The host keeps its network, un-meshed.
    #[default]
    Open,
    /// New connections are refused, but for the guard rails. Redirected from before the daemon starts to a clean stop.
    Closed,
}

/// The resolver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dns {
    /// `Dns.MinTTL`: `10s`. Given to the proxy.
    pub min_ttl: Duration,
    /// `Dns.MaxTTL`: `10m`. Given to the proxy.
    pub max_ttl: Duration,
}

/// Format of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Text.
    #[default]
    Plain,
    /// One JSON object a line.
    Json,
}

// === impl Config ===

impl Config {
    /// Reads the text of a configuration; fails with everything that is wrong with it.
    pub fn parse(text: &str) -> Result<Self, Problems> {
        build::config(&node::Node::document(text)?)
    }

    /// Reads the bytes of a file as [`Config::parse`] does.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Problems> {
        Self::parse(text(bytes)?)
    }
}

/// The text of a file; fails with the place where it stops being UTF-8.
pub fn text(bytes: &[u8]) -> Result<&str, Problems> {
    std::str::from_utf8(bytes).map_err(|error| {
        let wrong = format!("is not UTF-8 text, at byte {}", error.valid_up_to());
        Problem::new("file", None, wrong, node::START_AGAIN).into()
    })
}

#[cfg(test)]
mod tests;
