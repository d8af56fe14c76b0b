//! Why a rule is there, as its comment in the kernel says it. Operators of Linkerd know most of these words.

use std::fmt;

use ipnet::IpNet;

use super::ports::Multiport;

/// What our comments begin with.
const PREFIX: &str = "proxy-init/";

/// Rendered with [`PREFIX`]; at most 255 bytes, the kernel's limit, since one [`Multiport`] takes at most 90.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    JumpInbound,
    JumpOutbound,
    IgnoreProxyUser,
    IgnoreLoopback,
    IgnorePorts(Multiport),
    IgnoreSshd(Multiport),
    IgnoreSshSession(u16),
    IgnoreAdminPorts(Multiport),
    IgnoreSubnet(IpNet),
    IgnoreMetadata(IpNet),
    IgnoreControlPlane(u16),
    IgnoreSpireServer(u16),
    RedirectInbound,
    RedirectInboundPorts(Multiport),
    RedirectOutbound,
    RedirectOutboundSubnet(IpNet),
}

// === impl Purpose ===

impl Purpose {
    /// What a comment says of its rule, without the prefix; `None` for one that is not ours.
    pub(super) fn in_comment(comment: &str) -> Option<&str> {
        comment.strip_prefix(PREFIX)
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PREFIX)?;
        match self {
            Self::JumpInbound => f.write_str("install-proxy-init-prerouting"),
            Self::JumpOutbound => f.write_str("install-proxy-init-output"),
            Self::IgnoreProxyUser => f.write_str("ignore-proxy-user-id"),
            Self::IgnoreLoopback => f.write_str("ignore-loopback"),
            Self::IgnorePorts(ports) => write!(f, "ignore-port-{ports}"),
            Self::IgnoreSshd(ports) => write!(f, "ignore-sshd-port-{ports}"),
            Self::IgnoreSshSession(port) => write!(f, "ignore-ssh-session-port-{port}"),
            Self::IgnoreAdminPorts(ports) => write!(f, "ignore-admin-port-{ports}"),
            Self::IgnoreSubnet(net) => write!(f, "ignore-subnet-{net}"),
            Self::IgnoreMetadata(net) => write!(f, "ignore-metadata-{net}"),
            Self::IgnoreControlPlane(port) => write!(f, "ignore-control-plane-port-{port}"),
            Self::IgnoreSpireServer(port) => write!(f, "ignore-spire-server-port-{port}"),
            Self::RedirectInbound => f.write_str("redirect-all-incoming-to-proxy-port"),
            Self::RedirectInboundPorts(ports) => write!(f, "redirect-port-{ports}-to-proxy-port"),
            Self::RedirectOutbound => f.write_str("redirect-all-outgoing-to-proxy-port"),
            Self::RedirectOutboundSubnet(net) => {
                write!(f, "redirect-outgoing-subnet-{net}-to-proxy-port")
            }
        }
    }
}
