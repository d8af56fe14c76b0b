//! The grammar of each kind of value in the environment.

use crate::names::is_dns_name;
use ipnet::IpNet;
use std::collections::{BTreeSet, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// A control plane's address: fixed, or a name that is looked up on every connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Addr {
    Socket(SocketAddr),
    Name(String, u16),
}

impl Addr {
    /// Loopback addresses turn TLS off in the real proxy.
    pub(crate) fn is_loopback(&self) -> bool {
        match self {
            Self::Socket(addr) => addr.ip().is_loopback(),
            Self::Name(host, _) => host.eq_ignore_ascii_case("localhost."),
        }
    }
}

impl std::fmt::Display for Addr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Socket(addr) => addr.fmt(f),
            Self::Name(host, port) => write!(f, "{host}:{port}"),
        }
    }
}

/// The standard way to read a value, with the real proxy's name for its failure.
fn parsed<T: std::str::FromStr>(s: &str, failure: &str) -> Result<T, String> {
    s.parse().ok().ok_or_else(|| failure.to_owned())
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "has the shape of every other parser"
)]
pub(super) fn text(s: &str) -> Result<String, String> {
    Ok(s.to_owned())
}

pub(super) fn boolean(s: &str) -> Result<bool, String> {
    parsed(s, "NotABool")
}

pub(super) fn number<T: std::str::FromStr>(s: &str) -> Result<T, String> {
    parsed(s, "NotANumber")
}

/// Digits and a unit; the unit may be missing only from zero.
pub(super) fn duration(s: &str) -> Result<Duration, String> {
    let s = s.trim();
    let unit_at = s.find(|c: char| !c.is_ascii_digit()).unwrap_or(s.len());
    let (digits, unit) = s.split_at(unit_at);
    if digits.is_empty() {
        return Err("NotADuration".into());
    }
    let n: u64 = parsed(digits, "NotAnInteger")?;
    let seconds = |per: u64| {
        n.checked_mul(per)
            .map(Duration::from_secs)
            .ok_or_else(|| "NotADuration".to_owned())
    };
    match unit {
        "" if n == 0 => Ok(Duration::ZERO),
        "ms" => Ok(Duration::from_millis(n)),
        "s" => seconds(1),
        "m" => seconds(60),
        "h" => seconds(60 * 60),
        "d" => seconds(24 * 60 * 60),
        _ => Err("NotADuration".into()),
    }
}

/// A duration, or nothing at all.
pub(super) fn duration_or_empty(s: &str) -> Result<Option<Duration>, String> {
    if s.is_empty() {
        Ok(None)
    } else {
        duration(s).map(Some)
    }
}

pub(super) fn addr(s: &str) -> Result<Addr, String> {
    if let Ok(addr) = s.parse() {
        return Ok(Addr::Socket(addr));
    }
    let (host, port) = s.rsplit_once(':').ok_or("AddrError(MissingPort)")?;
    let port = parsed(port, "AddrError(InvalidPort)")?;
    if is_dns_name(host) {
        Ok(Addr::Name(host.to_owned(), port))
    } else {
        Err("AddrError(InvalidHost)".into())
    }
}

pub(super) fn socket_addr(s: &str) -> Result<SocketAddr, String> {
    match addr(s)? {
        Addr::Socket(addr) => Ok(addr),
        Addr::Name(..) => Err("HostIsNotAnIpAddress".into()),
    }
}

/// One or two listeners.
pub(super) fn socket_addrs(s: &str) -> Result<Vec<SocketAddr>, String> {
    let addrs: Vec<_> = s.split(',').collect();
    if addrs.len() > 2 {
        return Err("TooManyAddrs".into());
    }
    addrs.into_iter().map(socket_addr).collect()
}

/// Addresses without blanks between them; an empty list is an error.
pub(super) fn ip_set(s: &str) -> Result<HashSet<IpAddr>, String> {
    s.split(',').map(|ip| parsed(ip, "NotAnIp")).collect()
}

fn items(s: &str) -> impl Iterator<Item = &str> {
    s.split(',').map(str::trim).filter(|item| !item.is_empty())
}

/// Ports and ranges of ports.
pub(super) fn port_set(s: &str) -> Result<BTreeSet<u16>, String> {
    let port = |p: &str| parsed::<u16>(p.trim(), "NotAPortRange");
    let mut ports = BTreeSet::new();
    for item in items(s) {
        let (low, high) = item.split_once('-').unwrap_or((item, item));
        let (low, high) = (port(low)?, port(high)?);
        if low > high {
            return Err("NotAPortRange".into());
        }
        ports.extend(low..=high);
    }
    Ok(ports)
}

/// Networks with their masks.
pub(super) fn networks(s: &str) -> Result<Vec<IpNet>, String> {
    items(s).map(|net| parsed(net, "NotANetwork")).collect()
}

/// DNS suffixes in lower case without the last dot; the empty one matches every name.
pub(super) fn dns_suffixes(s: &str) -> Result<Vec<String>, String> {
    items(s)
        .map(|suffix| match suffix {
            "." => Ok(String::new()),
            name if is_dns_name(name) => Ok(name.trim_end_matches('.').to_ascii_lowercase()),
            _ => Err("NotADomainSuffix".to_owned()),
        })
        .collect()
}

pub(super) fn dns_name(s: &str) -> Result<String, String> {
    if is_dns_name(s) {
        Ok(s.to_ascii_lowercase())
    } else {
        Err("NameError".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit_unless_zero() {
        assert_eq!(duration("300ms"), Ok(Duration::from_millis(300)));
        assert_eq!(duration(" 2m\t"), Ok(Duration::from_secs(120)));
        assert_eq!(duration("0"), Ok(Duration::ZERO));
        for bad in [
            "",
            "30",
            "1.5s",
            "1 s",
            "s",
            "12y",
            "99999999999999999999ms",
            "99999999999999999d",
        ] {
            assert!(duration(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn port_sets_take_ranges_blanks_and_nothing() {
        assert_eq!(port_set(""), Ok(BTreeSet::new()));
        assert_eq!(
            port_set("80, 443,,1000-1002"),
            Ok([80, 443, 1000, 1001, 1002].into())
        );
        for bad in ["http", "5-2", "-1", "2-", "70000"] {
            assert!(port_set(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn ip_sets_take_no_blanks_and_are_not_empty() {
        assert!(ip_set("10.0.0.1,fd00::1").is_ok_and(|set| set.len() == 2));
        for bad in ["", "10.0.0.1, 10.0.0.2", "10.0.0.1/8"] {
            assert!(ip_set(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn addresses_are_sockets_or_names() {
        assert_eq!(
            addr("[::1]:80"),
            Ok(Addr::Socket("[::1]:80".parse().unwrap()))
        );
        assert_eq!(addr("a.b.:8086"), Ok(Addr::Name("a.b.".into(), 8086)));
        assert!(addr("localhost.:1").is_ok_and(|a| a.is_loopback()));
        assert!(addr("a.b").is_err() && addr("a b:1").is_err() && socket_addr("a.b:1").is_err());
        assert!(socket_addrs("127.0.0.1:1,[::1]:1").is_ok_and(|l| l.len() == 2));
        assert!(socket_addrs("127.0.0.1:1,127.0.0.1:2,127.0.0.1:3").is_err());
    }
}
