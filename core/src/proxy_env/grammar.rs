//! How the proxy reads values.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::names::{DnsName, HostPort};

/// The proxy's default policies, for a port of which nothing else is said; it ends with any other.
pub const INBOUND_POLICIES: [&str; 6] = [
    "deny",
    "all-authenticated",
    "all-unauthenticated",
    "cluster-authenticated",
    "cluster-unauthenticated",
    "audit",
];

/// A form of value that the proxy can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grammar {
    /// Digits and a unit, no fraction: `100ms`, `3s`, `5m`, `1h`, `2d`; `0` alone needs no unit.
    Duration,
    /// A whole number that fits 32 bits.
    Number,
    /// A whole number, at least 1.
    Positive,
    /// A whole number from 1 to 2^31 - 1: a window of HTTP/2, a backlog of a socket.
    Window,
    /// The size of a frame of HTTP/2. The proxy's library panics on any other number.
    FrameSize,
    /// A share above 0, at most 1.
    Ratio,
    /// `true` or `false`.
    Bool,
    /// Ports and ranges: `80,443,1000-2000`. Names are not understood.
    Ports,
    /// A DNS name, not an IP address.
    Name,
    /// DNS suffixes with commas; `.` is every name.
    Suffixes,
    /// `ip:port` or `name:port`.
    Address,
    /// A SPIFFE ID.
    SpiffeId,
    /// One of the [`INBOUND_POLICIES`].
    Policy,
    /// Format of the access log.
    AccessLog,
    /// Nothing, or `unsafe`.
    AuthorityLabels,
    /// Anything but a zero byte.
    Text,
}

// === impl Grammar ===

impl Grammar {
    /// Whether the proxy reads this value without complaint.
    pub fn accepts(self, value: &str) -> bool {
        match self {
            Self::Duration => parse_duration(value).is_some(),
            Self::Number => digits(value).is_some_and(|number| u32::try_from(number).is_ok()),
            Self::Positive => {
                digits(value).is_some_and(|number| number > 0 && u32::try_from(number).is_ok())
            }
            Self::Window => digits(value).is_some_and(|number| (1..1 << 31).contains(&number)),
            Self::FrameSize => {
                digits(value).is_some_and(|number| (1 << 14..1 << 24).contains(&number))
            }
            Self::Ratio => value
                .parse::<f64>()
                .is_ok_and(|share| share > 0.0 && share <= 1.0),
            Self::Bool => matches!(value, "true" | "false"),
            Self::Ports => value.split(',').all(|part| is_port_range(part.trim())),
            Self::Name => is_name(value),
            Self::Suffixes => value
                .split(',')
                .map(str::trim)
                .all(|part| part.is_empty() || part == "." || is_name(part)),
            Self::Address => is_address(value),
            Self::SpiffeId => is_spiffe_id(value),
            Self::Policy => INBOUND_POLICIES.contains(&value),
            Self::AccessLog => matches!(value, "apache" | "json"),
            Self::AuthorityLabels => value.is_empty() || value.eq_ignore_ascii_case("unsafe"),
            Self::Text => !value.contains('\0'),
        }
    }
}

impl fmt::Display for Grammar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Duration => "a whole number with a unit (ms, s, m, h or d)",
            Self::Number => "a whole number",
            Self::Positive => "a whole number, at least 1",
            Self::Window => "a whole number from 1 to 2147483647",
            Self::FrameSize => "a whole number from 16384 to 16777215",
            Self::Ratio => "a share above 0, at most 1",
            Self::Bool => "true or false",
            Self::Ports => "a list of port numbers and ranges",
            Self::Name => "a DNS name",
            Self::Suffixes => "a list of DNS suffixes",
            Self::Address => "an address (host:port)",
            Self::SpiffeId => "a SPIFFE ID (spiffe://trust-domain/path)",
            Self::Policy => {
                "a default policy (deny, audit, or all- or cluster- followed by authenticated or unauthenticated)"
            }
            Self::AccessLog => "apache or json",
            Self::AuthorityLabels => "empty or unsafe",
            Self::Text => "text without a zero byte",
        })
    }
}

/// A duration as the proxy reads it: whole seconds, or milliseconds rounded up, so that a short wait is never none.
pub fn duration(duration: Duration) -> String {
    let nanos = duration.subsec_nanos();
    if nanos == 0 {
        return format!("{}s", duration.as_secs());
    }
    let millis = duration
        .as_secs()
        .checked_mul(1000)
        .and_then(|millis| millis.checked_add(u64::from(nanos.div_ceil(1_000_000))));
    millis.map_or_else(
        || format!("{}s", duration.as_secs()),
        |millis| format!("{millis}ms"),
    )
}

/// The proxy's own reading of a duration; values that would overflow in it are refused.
pub(super) fn parse_duration(value: &str) -> Option<Duration> {
    let value = value.trim();
    let split = value
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(value.len());
    let (number, unit) = value.split_at_checked(split)?;
    let number = digits(number)?;
    let seconds = |factor: u64| number.checked_mul(factor).map(Duration::from_secs);
    match unit {
        "" if number == 0 => Some(Duration::ZERO),
        "ms" => Some(Duration::from_millis(number)),
        "s" => seconds(1),
        "m" => seconds(60),
        "h" => seconds(60 * 60),
        "d" => seconds(24 * 60 * 60),
        _ => None,
    }
}

/// Digits only: `parse` alone would take `+1` as well.
fn digits(text: &str) -> Option<u64> {
    text.bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| text.parse().ok())?
}

/// Empty items are fine with the proxy.
fn is_port_range(text: &str) -> bool {
    let port = |text: &str| digits(text.trim()).and_then(|port| u16::try_from(port).ok());
    match text.split_once('-') {
        None => text.is_empty() || port(text).is_some(),
        Some((first, last)) => port(first)
            .zip(port(last))
            .is_some_and(|(first, last)| first <= last),
    }
}

/// As webpki reads names: the last label may not be all digits, which also rules out IPv4 addresses.
fn is_name(text: &str) -> bool {
    let Ok(name) = text.parse::<DnsName>() else {
        return false;
    };
    let last = name.without_dot().rsplit('.').next().unwrap_or_default();
    !last.bytes().all(|b| b.is_ascii_digit())
}

fn is_address(text: &str) -> bool {
    text.parse::<SocketAddr>()
        .is_ok_and(|address| address.port() != 0)
        || text
            .parse::<HostPort>()
            .is_ok_and(|address| is_name(address.host()))
}

/// Whether the proxy would speak plaintext, without checking who answers, to a controller at this address.
pub(super) fn is_plaintext(address: &HostPort) -> bool {
    address
        .host()
        .parse::<IpAddr>()
        .is_ok_and(|ip| ip.is_loopback())
        || address.host().eq_ignore_ascii_case("localhost.")
}

/// The characters of the SPIFFE standard; the proxy itself asks only for the scheme.
fn is_spiffe_id(text: &str) -> bool {
    let Some((domain, path)) = text
        .strip_prefix("spiffe://")
        .and_then(|rest| rest.split_once('/'))
    else {
        return false;
    };
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    !domain.is_empty()
        && domain
            .bytes()
            .all(|b| allowed(b) && !b.is_ascii_uppercase())
        && path
            .split('/')
            .all(|segment| !segment.is_empty() && segment.bytes().all(allowed))
}
