//! How the registry goes about it.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::Ipv4Net;

/// How we go about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Where cluster IPs are computed in.
    pub service_network: Ipv4Net,
    /// How long after a start nobody is called unknown.
    pub restore_window: Duration,
    /// How long a VM whose stream was lost is believed to be well.
    pub disconnect_grace: Duration,
    /// How long a VM that is away is waited for before its workload is removed.
    pub workload_ttl: Duration,
    /// Over which time VMs that have lost their stream come back.
    pub reconnect: Reconnect,
    /// Which addresses of a VM others are told of.
    pub families: Families,
    /// Who may join a group that does not say.
    pub default_access: DefaultAccess,
    /// Who we are, for people.
    pub controller: String,
}

/// Over which time VMs that have lost their stream come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reconnect {
    /// This.
    Within(Duration),
    /// As long as one other replica takes for all of them, but well within the grace.
    ByFleet,
}

/// Which addresses of a VM others are told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Families {
    /// All.
    All,
    /// The first IPv4 one, else the first. Linkerd's destination controller takes addresses of two families for one
    /// another.
    One,
}

/// Who may join a group that does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum DefaultAccess {
    /// Every VM of the trust domain.
    TrustDomain,
    /// Nobody.
    Deny,
}

// === impl Rules ===

impl Rules {
    /// Those of a VM's addresses that others are told of.
    pub fn advertised(&self, ips: &[IpAddr]) -> Vec<IpAddr> {
        let first = || ips.iter().find(|ip| ip.is_ipv4()).or_else(|| ips.first());
        match self.families {
            Families::All => ips.to_vec(),
            Families::One => first().into_iter().copied().collect(),
        }
    }
}
