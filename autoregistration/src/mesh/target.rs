//! What a proxy asks about: an address, or a name with a port.

use std::net::{IpAddr, SocketAddr};

use linkerd_harness_core::names::HostPort;
use linkerd2_proxy_api::net::TcpAddress;

use super::service;
use crate::view::{Service, ServicePort, View};

/// What a question is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// An address as it was dialled.
    Address(SocketAddr),
    /// A name that could be a Service's; lower case, without trailing dot, at most 253 bytes.
    Host(Box<str>, u16),
    /// Anything else, which is nothing of ours; clients choose such names, so none is kept.
    Other,
}

/// What a view knows about a target.
#[derive(Clone, Copy, Debug)]
pub(super) enum Known<'a> {
    /// A Service, and its port if it has that one.
    Service(&'a Service, Option<&'a ServicePort>),
    /// An address that is no Service's.
    Address(SocketAddr),
    /// A name that is no Service's, or no target at all.
    Nothing,
}

// === impl Target ===

impl Target {
    /// Parses `10.0.0.1:80`, `[fd00::1]:80` or `name:80`; `None` if it is none of these.
    pub(super) fn parse(path: &str) -> Option<Self> {
        if let Ok(addr) = path.parse::<SocketAddr>() {
            return Self::address(addr.ip(), addr.port());
        }
        let name = path.parse::<HostPort>().ok()?;
        let host = name.host().trim_end_matches('.').to_ascii_lowercase();
        Some(if service::may_be_host(&host) {
            Self::Host(host.into(), name.port())
        } else {
            Self::Other
        })
    }

    /// An address in a message; `None` without one, or with a port that does not exist.
    pub(super) fn from_message(addr: TcpAddress) -> Option<Self> {
        let port = u16::try_from(addr.port).ok()?;
        let ip = IpAddr::try_from(addr.ip?).ok()?;
        Self::address(ip, port)
    }

    fn address(ip: IpAddr, port: u16) -> Option<Self> {
        // `::ffff:10.0.0.1` and `10.0.0.1` are one peer.
        (port != 0).then(|| Self::Address(SocketAddr::new(ip.to_canonical(), port)))
    }

    /// What `view` knows about it.
    pub(super) fn look_up<'a>(&self, view: &'a View) -> Known<'a> {
        match self {
            Self::Address(addr) => view
                .service_by_ip(addr.ip(), addr.port())
                .map_or(Known::Address(*addr), |(service, port)| {
                    Known::Service(service, port)
                }),
            Self::Host(host, port) => {
                service::by_host(view, host).map_or(Known::Nothing, |service| {
                    let port = service
                        .ports
                        .iter()
                        .find(|candidate| candidate.port == *port);
                    Known::Service(service, port)
                })
            }
            Self::Other => Known::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_names_are_told_apart() {
        let address = |text: &str| Some(Target::Address(text.parse().unwrap()));
        let host = Some(Target::Host("a.b.svc.cluster.local".into(), 80));
        for (path, target) in [
            ("10.77.0.2:80", address("10.77.0.2:80")),
            ("[fd00::2]:80", address("[fd00::2]:80")),
            ("[::ffff:10.77.0.2]:80", address("10.77.0.2:80")),
            ("A.b.SVC.cluster.local.:80", host.clone()),
            ("a.b.svc.cluster.local:80", host),
            ("example.com:80", Some(Target::Other)),
            ("svc.cluster.local:80", Some(Target::Other)),
            ("", None),
            ("10.77.0.2", None),
            ("10.77.0.2:0", None),
            ("fd00::2:80", None),
            ("a.b.svc.cluster.local", None),
            ("a.b.svc.cluster.local:http", None),
            ("a b:80", None),
        ] {
            assert_eq!(Target::parse(path), target, "{path}");
        }
    }

    #[test]
    fn an_address_in_a_message_needs_an_ip_and_a_port() {
        let addr: SocketAddr = "10.77.0.2:80".parse().unwrap();
        assert_eq!(
            Target::from_message(addr.into()),
            Some(Target::Address(addr))
        );
        for port in [0, 65536] {
            let message = TcpAddress {
                port,
                ..addr.into()
            };
            assert_eq!(Target::from_message(message), None, "{port}");
        }
        assert_eq!(
            Target::from_message(TcpAddress { ip: None, port: 80 }),
            None
        );
    }
}
