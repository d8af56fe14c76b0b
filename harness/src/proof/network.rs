//! Addresses for a link of our own that mean nothing to this host.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use linkerd_harness_core::redirect::Family;

use super::ip::Ip;

/// So many are tried before giving up.
const CANDIDATES: usize = 8;

/// For benchmarks (RFC 2544). Some tunnels use it for their own purposes.
const BENCHMARK: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(198, 18, 0, 0), 15);
/// For documentation (RFC 5737, RFC 3849).
const DOCUMENTATION: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(203, 0, 113, 0), 24);
const DOCUMENTATION_V6: Ipv6Net =
    Ipv6Net::new_assert(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32);

/// A network of two hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Network {
    pub(super) ours: IpAddr,
    pub(super) theirs: IpAddr,
    pub(super) prefix: u8,
}

impl Network {
    /// One to which this host has no route but a default one, and whose addresses are all `usable`.
    pub(super) fn free(
        ip: &Ip,
        family: Family,
        usable: impl Fn(IpAddr) -> bool,
    ) -> Result<Self, String> {
        for n in 0..CANDIDATES {
            let candidate = Self::random(family, n < CANDIDATES / 2);
            if usable(candidate.ours) && usable(candidate.theirs) && !candidate.known(ip)? {
                return Ok(candidate);
            }
        }
        Err(format!("no {family} addresses are free on this host"))
    }

    fn random(family: Family, benchmark: bool) -> Self {
        let random = rand::random::<u32>();
        let host = |host: u8| match family {
            Family::V4 => {
                let within = if benchmark { BENCHMARK } else { DOCUMENTATION };
                let net = u32::from(within.network()) | random & u32::from(within.hostmask()) & !3;
                IpAddr::from(Ipv4Addr::from(net + u32::from(host)))
            }
            Family::V6 => {
                let net = u128::from(DOCUMENTATION_V6.network()) | u128::from(random) << 64;
                IpAddr::from(Ipv6Addr::from(net + u128::from(host)))
            }
        };
        Self {
            ours: host(1),
            theirs: host(2),
            prefix: match family {
                Family::V4 => 30,
                Family::V6 => 64,
            },
        }
    }

    fn known(&self, ip: &Ip) -> Result<bool, String> {
        let net = IpNet::new(self.ours, self.prefix).map_err(|error| error.to_string())?;
        let (family, net) = (
            if self.ours.is_ipv4() { "-4" } else { "-6" },
            net.trunc().to_string(),
        );
        // Routes that this network is a part of, and routes to parts of it.
        for relation in ["match", "root"] {
            let routes = ip.ask(&[family, "route", "show", "table", "all", relation, &net])?;
            if routes.lines().any(|route| !is_default(route)) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// `default via …`, `unreachable default …`.
fn is_default(route: &str) -> bool {
    let mut words = route.split_ascii_whitespace().take(2);
    words.any(|word| word == "default")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_are_reserved_and_of_two_hosts() {
        for n in 0..1000 {
            for family in [Family::V4, Family::V6] {
                let Network {
                    ours,
                    theirs,
                    prefix,
                } = Network::random(family, n % 2 == 0);
                let reserved = match ours {
                    IpAddr::V4(ours) => BENCHMARK.contains(&ours) || DOCUMENTATION.contains(&ours),
                    IpAddr::V6(ours) => DOCUMENTATION_V6.contains(&ours),
                };
                let net = IpNet::new(ours, prefix).unwrap();
                assert!(
                    reserved && ours != theirs && net.contains(&theirs),
                    "{net} {theirs}"
                );
                assert!(
                    ![net.network(), net.broadcast()].contains(&theirs),
                    "{net} {theirs}"
                );
            }
        }
    }

    #[test]
    fn only_default_routes_do_not_count() {
        assert!(is_default("default via 10.0.0.1 dev eth0"));
        assert!(is_default("unreachable default dev lo metric 4294967295"));
        assert!(!is_default("198.18.0.0/15 dev tun0 via default"));
    }
}
