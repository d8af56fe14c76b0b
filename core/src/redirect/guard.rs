//! What is never redirected, whatever the configuration says, so that an operator cannot lock himself out.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

/// One exemption and why it is there. `Display` is the reason, for people; in JSON an object with one key, the kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GuardRail {
    /// Inbound: a port of this host's SSH server.
    Sshd {
        /// The port.
        port: u16,
        /// How it was found.
        found: SshdFound,
    },
    /// Inbound: a live SSH session. Only its own port: were all ports of its peer exempt, whoever opens a connection to
    /// the SSH port would be past the proxy's policy.
    SshSession {
        /// The operator's address.
        peer: IpAddr,
        /// Port of the session on this host.
        port: u16,
    },
    /// Inbound: a port of the harness or of the proxy that serves operators and monitoring.
    AdminPort(u16),
    /// Outbound: link-local addresses and those where clouds serve metadata. Not inbound by source: a neighbour could
    /// forge such a source to get past the proxy's policy.
    Metadata(IpNet),
    /// Outbound: autoregistration or another part of the control plane.
    ControlPlane(SocketAddr),
    /// Outbound: the SPIRE server. The agent must reach it before there is an identity.
    SpireServer(SocketAddr),
}

/// How a port of the SSH server was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SshdFound {
    /// A process of the SSH server listens on it.
    Listening,
    /// systemd listens on it for the unit `ssh.socket`.
    SocketUnit,
    /// The SSH server is configured for it, but does not listen yet.
    Configured,
    /// Nothing was found; 22 to be safe.
    Assumed,
}

impl GuardRail {
    /// The addresses of [`GuardRail::Metadata`]: IPv4 link-local (AWS, Google, Azure and others serve metadata there),
    /// Azure's wire server, Alibaba's metadata, IPv6 link-local, AWS's IPv6 metadata.
    pub fn metadata() -> impl Iterator<Item = Self> {
        let v4 =
            |octets: [u8; 4], prefix| Ipv4Net::new_assert(Ipv4Addr::from(octets), prefix).into();
        let v6 = |segments: [u16; 8], prefix| {
            Ipv6Net::new_assert(Ipv6Addr::from(segments), prefix).into()
        };
        [
            v4([169, 254, 0, 0], 16),
            v4([168, 63, 129, 16], 32),
            v4([100, 100, 100, 200], 32),
            v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10),
            v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254], 128),
        ]
        .into_iter()
        .map(Self::Metadata)
    }
}

impl GuardRail {
    /// Whether it exempts a server at a loopback address, which nothing redirects anyway: such as a SPIRE server on the
    /// machine of its agent.
    pub fn is_on_this_host(&self) -> bool {
        matches!(self, Self::ControlPlane(addr) | Self::SpireServer(addr) if addr.ip().is_loopback())
    }
}

impl fmt::Display for GuardRail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sshd { port, found } => write!(f, "inbound port {port}: SSH server ({found})"),
            Self::SshSession { peer, port } => {
                write!(f, "inbound port {port} from {peer}: live SSH session")
            }
            Self::AdminPort(port) => {
                write!(
                    f,
                    "inbound port {port}: administration of the harness or the proxy"
                )
            }
            Self::Metadata(net) => write!(f, "outbound to {net}: link-local or cloud metadata"),
            Self::ControlPlane(addr) => write!(f, "outbound to {addr}: control plane"),
            Self::SpireServer(addr) => write!(f, "outbound to {addr}: SPIRE server"),
        }
    }
}

impl fmt::Display for SshdFound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Listening => "it listens there",
            Self::SocketUnit => "systemd listens there for it",
            Self::Configured => "it is configured for it",
            Self::Assumed => "assumed, none was found",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_servers_at_loopback_addresses_need_no_exemption() {
        for (address, on_this_host) in [
            ("127.0.0.1:8081", true),
            ("[::1]:8081", true),
            ("10.0.0.1:8081", false),
        ] {
            let address: SocketAddr = address.parse().unwrap();
            for rail in [
                GuardRail::SpireServer(address),
                GuardRail::ControlPlane(address),
            ] {
                assert_eq!(rail.is_on_this_host(), on_this_host, "{rail}");
            }
        }
    }

    #[test]
    fn each_kind_says_itself_in_json_and_comes_back() {
        let endpoint: SocketAddr = "[2001:db8::1]:8081".parse().unwrap();
        let rails = [
            GuardRail::Sshd {
                port: 22,
                found: SshdFound::SocketUnit,
            },
            GuardRail::SshSession {
                peer: endpoint.ip(),
                port: 2222,
            },
            GuardRail::AdminPort(4191),
            GuardRail::ControlPlane(endpoint),
            GuardRail::SpireServer(endpoint),
        ];
        for rail in rails.into_iter().chain(GuardRail::metadata()) {
            let json = serde_json::to_string(&rail).unwrap();
            assert_eq!(
                serde_json::from_str::<GuardRail>(&json).unwrap(),
                rail,
                "{json}"
            );
        }
        let sshd = GuardRail::Sshd {
            port: 22,
            found: SshdFound::SocketUnit,
        };
        assert_eq!(
            serde_json::to_string(&sshd).unwrap(),
            r#"{"sshd":{"port":22,"found":"socket-unit"}}"#
        );
    }
}
