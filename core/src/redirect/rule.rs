//! One rule, in the words that `iptables-save` uses for it, so that wanted and live can be compared as text.
//!
//! A rule is made of numbers, addresses and closed enums only. No text of a user gets into it.

use std::fmt;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::ports::Multiport;
use super::purpose::Purpose;

/// Address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Family {
    /// IPv4, `iptables`.
    #[serde(rename = "ipv4")]
    V4,
    /// IPv6, `ip6tables`.
    #[serde(rename = "ipv6")]
    V6,
}

/// A chain of ours in table `nat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Chain {
    /// `PROXY_INIT_REDIRECT`, for inbound traffic.
    Redirect,
    /// `PROXY_INIT_OUTPUT`, for outbound traffic.
    Output,
}

/// `-A <chain> <matches> -m comment --comment <purpose> -j <target>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) matches: Vec<Match>,
    pub(super) purpose: Purpose,
    pub(super) target: Target,
}

/// What a rule matches. A rule's matches are in the order of the variants, which is that of `iptables-save`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Match {
    Source(IpNet),
    Destination(IpNet),
    OutLoopback,
    Tcp,
    Owner(u32),
    LocalDestination,
    DestinationPort(u16),
    DestinationPorts(Multiport),
}

/// What becomes of a packet that matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Return,
    RedirectTo(u16),
    Jump(Chain),
}

// === impl Family ===

impl Family {
    /// Whether this network is of this family.
    pub(super) fn has(self, net: &IpNet) -> bool {
        match self {
            Self::V4 => matches!(net, IpNet::V4(_)),
            Self::V6 => matches!(net, IpNet::V6(_)),
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

// === impl Chain ===

impl Chain {
    /// Both, in the order in which they are rendered.
    pub const ALL: [Self; 2] = [Self::Redirect, Self::Output];

    /// Its name in the kernel.
    pub fn name(self) -> &'static str {
        match self {
            Self::Redirect => "PROXY_INIT_REDIRECT",
            Self::Output => "PROXY_INIT_OUTPUT",
        }
    }

    /// The chain of the kernel that jumps to it.
    pub fn hook(self) -> &'static str {
        match self {
            Self::Redirect => "PREROUTING",
            Self::Output => "OUTPUT",
        }
    }
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

// === impl Rule ===

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in &self.matches {
            write!(f, "{part} ")?;
        }
        write!(
            f,
            "-m comment --comment \"{}\" -j {}",
            self.purpose, self.target
        )
    }
}

impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source(net) => write!(f, "-s {net}"),
            Self::Destination(net) => write!(f, "-d {net}"),
            Self::OutLoopback => f.write_str("-o lo"),
            Self::Tcp => f.write_str("-p tcp"),
            Self::Owner(uid) => write!(f, "-m owner --uid-owner {uid}"),
            Self::LocalDestination => f.write_str("-m addrtype --dst-type LOCAL"),
            Self::DestinationPort(port) => write!(f, "-m tcp --dport {port}"),
            Self::DestinationPorts(ports) => write!(f, "-m multiport --dports {ports}"),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Return => f.write_str("RETURN"),
            Self::RedirectTo(port) => write!(f, "REDIRECT --to-ports {port}"),
            Self::Jump(chain) => write!(f, "{chain}"),
        }
    }
}
