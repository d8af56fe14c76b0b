//! Names and numbers that are checked once, where they enter, and passed as types from then on.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A DNS label (RFC 1123): 1 to 63 of `a-z`, `0-9`, `-`, with a letter or digit at both ends.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DnsLabel(String);

/// Namespace and name of an `ExternalGroup`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GroupRef {
    /// Kubernetes namespace.
    pub namespace: DnsLabel,
    /// Name of the group; at most 52 characters, so that a workload's name (`<group>-<10 hex>`) stays a DNS label.
    pub name: DnsLabel,
}

/// A DNS name, kept as written, e.g. `linkerd-autoregistration.linkerd.svc.cluster.local.`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DnsName(String);

/// `host:port`, where host is a DNS name, an IPv4 address or an IPv6 address in brackets.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostPort {
    host: String,
    port: u16,
}

/// A TCP port or a range of them, `80` or `4000-4100`; never holds port 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PortRange {
    first: u16,
    last: u16,
}

/// Why a text is not what it should be. The text itself is for the caller to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// Not a DNS label.
    #[error("is not a DNS label (1 to 63 of a-z, 0-9 and -, a letter or digit at both ends)")]
    DnsLabel,
    /// Not a DNS name.
    #[error(
        "is not a DNS name (labels of a-z, 0-9 and -, separated by dots, at most 253 characters)"
    )]
    DnsName,
    /// Not `host:port`.
    #[error(
        "is not host:port (for example linkerd-autoregistration.linkerd.svc.cluster.local.:8081)"
    )]
    HostPort,
    /// Not a port or a range.
    #[error("is not a port (1 to 65535) or a range of ports (for example 4000-4100)")]
    PortRange,
}

// === impl DnsLabel ===

impl DnsLabel {
    /// The label.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DnsLabel {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let bytes = text.as_bytes();
        let alphanumeric = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let ends =
            bytes.first().is_some_and(alphanumeric) && bytes.last().is_some_and(alphanumeric);
        let inner = bytes.iter().all(|b| alphanumeric(b) || *b == b'-');
        (ends && inner && bytes.len() <= 63)
            .then(|| Self(text.to_owned()))
            .ok_or(Invalid::DnsLabel)
    }
}

// === impl GroupRef ===

impl fmt::Display for GroupRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

// === impl DnsName ===

impl DnsName {
    /// The name as written, possibly with a trailing dot.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name without a trailing dot, as certificates and SNI carry it.
    pub fn without_dot(&self) -> &str {
        self.0.strip_suffix('.').unwrap_or(&self.0)
    }
}

impl FromStr for DnsName {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let name = text.strip_suffix('.').unwrap_or(text);
        let label = |label: &str| {
            let bytes = label.as_bytes();
            let edge = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
            bytes.len() <= 63
                && edge(bytes.first())
                && edge(bytes.last())
                && bytes
                    .iter()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        };
        let all = !name.is_empty() && name.len() <= 253 && name.split('.').all(label);
        all.then(|| Self(text.to_owned())).ok_or(Invalid::DnsName)
    }
}

// === impl HostPort ===

impl HostPort {
    /// Host part, without the brackets of an IPv6 address.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Port, never 0.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl FromStr for HostPort {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let (host, port) = text.rsplit_once(':').ok_or(Invalid::HostPort)?;
        let port: u16 = port
            .parse()
            .ok()
            .filter(|port| *port != 0)
            .ok_or(Invalid::HostPort)?;
        let bracketed = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        let host = match bracketed {
            Some(inner) => inner.parse::<std::net::Ipv6Addr>().ok().map(|_| inner),
            None => host.parse::<DnsName>().ok().map(|_| host),
        };
        host.map(|host| Self {
            host: host.to_owned(),
            port,
        })
        .ok_or(Invalid::HostPort)
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

// === impl PortRange ===

impl PortRange {
    /// The range of one port; `None` for port 0.
    pub fn single(port: u16) -> Option<Self> {
        (port != 0).then_some(Self {
            first: port,
            last: port,
        })
    }

    /// First and last port, both included.
    pub fn bounds(self) -> RangeInclusive<u16> {
        self.first..=self.last
    }
}

impl FromStr for PortRange {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let port = |text: &str| {
            text.trim()
                .parse::<u16>()
                .ok()
                .filter(|port| *port != 0)
                .ok_or(Invalid::PortRange)
        };
        let (first, last) = (port(first)?, port(last)?);
        (first <= last)
            .then_some(Self { first, last })
            .ok_or(Invalid::PortRange)
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

macro_rules! text_conversions {
    ($($name:ident),*) => {$(
        impl TryFrom<String> for $name {
            type Error = Invalid;
            fn try_from(text: String) -> Result<Self, Invalid> {
                text.parse()
            }
        }
        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.to_string()
            }
        }
    )*};
}
text_conversions!(DnsLabel, DnsName, HostPort, PortRange);

macro_rules! display_inner {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}
display_inner!(DnsLabel, DnsName);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn labels_and_names_follow_the_rfc() {
        assert!("training-vm".parse::<DnsLabel>().is_ok());
        for bad in ["", "-a", "a-", "A", "a.b", "a_b", &"a".repeat(64)] {
            assert_eq!(bad.parse::<DnsLabel>(), Err(Invalid::DnsLabel), "{bad}");
        }
        assert_eq!("a.b.".parse::<DnsName>().unwrap().without_dot(), "a.b");
        for bad in ["", ".", "a..b", "-a.b", "a b"] {
            assert_eq!(bad.parse::<DnsName>(), Err(Invalid::DnsName), "{bad}");
        }
    }

    #[test]
    fn addresses_need_a_host_and_a_port() {
        for good in ["a.b.:8081", "10.0.0.1:1", "[::1]:65535"] {
            assert_eq!(good.parse::<HostPort>().unwrap().to_string(), good);
        }
        for bad in [
            "a", "a:", ":80", "a:0", "a:65536", "::1:80", "[::1:80", "a b:80",
        ] {
            assert_eq!(bad.parse::<HostPort>(), Err(Invalid::HostPort), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn parsers_never_panic_and_round_trip(text in ".{0,80}") {
            if let Ok(value) = text.parse::<PortRange>() {
                prop_assert_eq!(value.to_string().parse::<PortRange>(), Ok(value));
            }
            if let Ok(value) = text.parse::<HostPort>() {
                prop_assert_eq!(value.to_string().parse::<HostPort>(), Ok(value));
            }
            if let Ok(value) = text.parse::<DnsName>() {
                prop_assert_eq!(value.to_string(), text.clone());
            }
            if let Ok(value) = text.parse::<DnsLabel>() {
                prop_assert_eq!(value.to_string(), text);
            }
        }

        #[test]
        fn ranges_hold_their_bounds(first in 1u16.., last in 1u16..) {
            let parsed = format!("{first}-{last}").parse::<PortRange>();
            prop_assert_eq!(parsed.is_ok(), first <= last);
            if let Ok(range) = parsed {
                prop_assert_eq!(range.bounds(), first..=last);
            }
        }
    }
}
