//! Text to value, one function a kind. An error is what to say after the value: `is not …`.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use crate::labels::Label;
use crate::names::{DnsLabel, DnsName, HostPort, PortRange};

/// Longest name of a group: `<name>-<10 hex>` must be a DNS label.
const GROUP_NAME_MAX: usize = 52;
/// Longest path that fits into a socket address (`unix(7)`).
const SOCKET_PATH_MAX: usize = 107;
/// Longest SPIFFE ID (SPIFFE-ID section 2.3).
const SPIFFE_ID_MAX: usize = 2048;
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

pub(super) type Parsed<T> = Result<T, String>;

pub(super) fn label(text: &str) -> Parsed<DnsLabel> {
    text.parse().map_err(|error| format!("{error}"))
}

pub(super) fn group_name(text: &str) -> Parsed<DnsLabel> {
    let name = label(text)?;
    if text.len() > GROUP_NAME_MAX {
        let long = text.len();
        return Err(format!(
            "is {long} characters long; at most {GROUP_NAME_MAX}, because each member is named after its group"
        ));
    }
    Ok(name)
}

pub(super) fn name(text: &str) -> Parsed<DnsName> {
    text.parse().map_err(|error| format!("{error}"))
}

pub(super) fn host_port(text: &str) -> Parsed<HostPort> {
    text.parse().map_err(|error| format!("{error}"))
}

pub(super) fn port(text: &str) -> Parsed<PortRange> {
    text.parse().map_err(|error| format!("{error}"))
}

pub(super) fn workload_label(text: &str) -> Parsed<Label> {
    text.parse().map_err(|error| format!("{error}"))
}

pub(super) fn ip(text: &str) -> Parsed<IpAddr> {
    let ip: IpAddr = text
        .parse()
        .map_err(|_not_ip| "is not an IP address (for example 10.1.0.4)".to_owned())?;
    if ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() {
        return Err("is not an address under which others reach this machine".to_owned());
    }
    Ok(ip)
}

pub(super) fn address(text: &str) -> Parsed<SocketAddr> {
    let address: Option<SocketAddr> = text.parse().ok();
    address
        .filter(|address| address.port() != 0)
        .ok_or_else(|| {
            "is not ip:port (for example 127.0.0.1:4140, or [::1]:4140 for IPv6)".to_owned()
        })
}

pub(super) fn subnet(text: &str) -> Parsed<IpNet> {
    let bare = || text.parse::<IpAddr>().map(IpNet::from).ok();
    let network: Option<IpNet> = text.parse().ok().or_else(bare);
    network
        .map(|network| network.trunc())
        .ok_or_else(|| "is not a network (for example 10.0.0.0/8, fd00::/8 or 10.1.0.4)".to_owned())
}

pub(super) fn boolean(text: &str) -> Parsed<bool> {
    text.parse()
        .map_err(|_not_bool| "is not true or false".to_owned())
}

pub(super) fn path(text: &str) -> Parsed<PathBuf> {
    if !text.starts_with('/') || text.contains('\0') {
        return Err("is not an absolute path".to_owned());
    }
    Ok(PathBuf::from(text))
}

/// A path, or `unix:///path`, or `unix:/path` as gRPC writes it.
pub(super) fn socket(text: &str) -> Parsed<PathBuf> {
    let bare = text
        .strip_prefix("unix://")
        .or_else(|| text.strip_prefix("unix:"))
        .unwrap_or(text);
    let path = path(bare).map_err(|_not_path| {
        "is not the path of a socket (for example /tmp/spire-agent/public/api.sock)".to_owned()
    })?;
    if bare.len() > SOCKET_PATH_MAX {
        return Err(format!(
            "is longer than a socket's path can be ({SOCKET_PATH_MAX} bytes)"
        ));
    }
    Ok(path)
}

pub(super) fn spiffe_id(text: &str) -> Parsed<String> {
    let letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
    let segment = |segment: &str| {
        let known = |b: u8| letter(b) || b.is_ascii_uppercase();
        !matches!(segment, "" | "." | "..") && segment.bytes().all(known)
    };
    let good = |id: &str| {
        let (domain, path) = id
            .split_once('/')
            .map_or((id, None), |(domain, path)| (domain, Some(path)));
        let path = path.is_none_or(|path| path.split('/').all(segment));
        !domain.is_empty() && domain.len() <= 255 && domain.bytes().all(letter) && path
    };
    let valid = text.len() <= SPIFFE_ID_MAX && text.strip_prefix("spiffe://").is_some_and(good);
    valid.then(|| text.to_owned()).ok_or_else(|| {
        "is not a SPIFFE ID (for example spiffe://root.linkerd.cluster.local/proxy-harness)"
            .to_owned()
    })
}

/// A uid other than root's (whose traffic must not bypass the proxy) and than -1 (which means "no change" to the kernel).
pub(super) fn user_id(text: &str) -> Parsed<u32> {
    match text.parse() {
        Ok(0) => Err("is root, whose traffic would bypass the proxy".to_owned()),
        Ok(id) if id != u32::MAX => Ok(id),
        _ => Err("is not a numeric user id (see `id -u proxyharness`)".to_owned()),
    }
}

/// A share from 0 to 1, in percent.
pub(super) fn percent(text: &str) -> Parsed<u8> {
    let wrong = || "is not a number from 0 to 1 (for example 0.1)".to_owned();
    let share: f64 = text.parse().map_err(|_not_number| wrong())?;
    // Looked up instead of cast: no cast from f64 is exact for every input.
    (0..=100u8)
        .find(|percent| (share * 100.0 - f64::from(*percent)).abs() <= 0.5)
        .filter(|_| (0.0..=1.0).contains(&share))
        .ok_or_else(wrong)
}

/// Reads a duration: whole numbers with units, `100ms`, `1m30s`; or a bare `0`. The error is what to say after the text.
pub fn duration(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    sum(text).ok_or_else(|| {
        "is not a duration (a whole number with ms, s, m or h, for example 100ms or 1m30s)"
            .to_owned()
    })
}

fn sum(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    loop {
        let (number, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        let end = after
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let millis: u64 = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return None,
        };
        let part = number.parse::<u64>().ok()?.checked_mul(millis)?;
        total = total.checked_add(Duration::from_millis(part))?;
        if after.is_empty() {
            return Some(total);
        }
        rest = after;
    }
}

/// Directives `level` or `target=level`, separated by commas. A span filter (`[…]`) is left to who uses it.
pub(super) fn filter(text: &str) -> Parsed<String> {
    let known = |level: &str| LEVELS.iter().any(|known| known.eq_ignore_ascii_case(level));
    let directive = |directive: &str| {
        let (target, level) = directive
            .rsplit_once('=')
            .map_or((None, directive), |(target, level)| (Some(target), level));
        let target = target.is_none_or(|target| !target.is_empty());
        target && known(level)
    };
    let graphic = text.bytes().all(|b| b.is_ascii_graphic());
    if graphic && text.split(',').all(directive) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "is not a log filter (one of {}, or target=level, separated by commas)",
        LEVELS.join(", ")
    ))
}
