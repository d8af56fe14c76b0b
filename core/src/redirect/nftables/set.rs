//! Sets of ports and networks.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

/// A named set. `Display` is its definition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::redirect) struct Set {
    pub(super) name: String,
    /// `inet_service`, `ipv4_addr`, `ipv6_addr`.
    pub(super) kind: String,
    /// Ports, networks, and ranges of them.
    pub(super) elements: Vec<String>,
}

/// So many elements of a set go on a line.
const PER_LINE: usize = 8;

impl Set {
    /// A set that is named after what it holds: two contents never have the same name.
    pub(super) fn named_after_content(stem: &str, kind: &str, elements: Vec<String>) -> Self {
        let content = std::iter::once(kind).chain(elements.iter().map(String::as_str));
        let hash = fnv(content.flat_map(|text| text.bytes().chain([0])));
        Self {
            name: format!("{stem}_{hash:08x}"),
            kind: kind.to_owned(),
            elements,
        }
    }

    /// Whether both hold the same, however it is cut into elements.
    pub(super) fn same(&self, other: &Self) -> bool {
        self.name == other.name && self.kind == other.kind && self.content() == other.content()
    }

    /// Disjoint sorted ranges, and the elements that are none.
    fn content(&self) -> (Vec<(u128, u128)>, Vec<&str>) {
        let mut ranges = Vec::new();
        let mut others = Vec::new();
        for element in &self.elements {
            match range(element) {
                Some(range) => ranges.push(range),
                None => others.push(element.as_str()),
            }
        }
        ranges.sort_unstable();
        let mut merged: Vec<(u128, u128)> = Vec::new();
        for (first, last) in ranges {
            match merged.last_mut() {
                Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
                _ => merged.push((first, last)),
            }
        }
        others.sort_unstable();
        (merged, others)
    }
}

impl fmt::Display for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\tset {} {{\n\t\ttype {}", self.name, self.kind)?;
        writeln!(f, "\t\tflags interval")?;
        let lines: Vec<String> = self
            .elements
            .chunks(PER_LINE)
            .map(|line| line.join(", "))
            .collect();
        if !lines.is_empty() {
            writeln!(f, "\t\telements = {{ {} }}", lines.join(",\n\t\t\t     "))?;
        }
        writeln!(f, "\t}}")
    }
}

/// `22`, `8000-8010`, `10.0.0.0/8`, `::1`, `10.0.0.1-10.0.0.9`.
fn range(element: &str) -> Option<(u128, u128)> {
    if let Ok(net) = element.parse::<IpNet>() {
        return Some((number(net.network()), number(net.broadcast())));
    }
    let (first, last) = element.split_once('-').unwrap_or((element, element));
    let value = |text: &str| match text.trim().parse::<u16>() {
        Ok(port) => Some(u128::from(port)),
        Err(_) => text.trim().parse::<IpAddr>().ok().map(number),
    };
    Some((value(first)?, value(last)?)).filter(|(first, last)| first <= last)
}

fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => u32::from(ip).into(),
        IpAddr::V6(ip) => ip.into(),
    }
}

/// FNV-1a: any hash will do that is the same in every build.
fn fnv(bytes: impl Iterator<Item = u8>) -> u32 {
    bytes.fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mk_set(elements: &str) -> Set {
        let elements = elements.split(", ").map(str::to_owned).collect();
        Set {
            elements,
            ..Set::default()
        }
    }

    #[test]
    fn the_same_addresses_are_the_same_however_they_are_cut() {
        for (one, other) in [
            ("4567, 4568", "4567-4568"),
            ("10.0.0.0/9, 10.128.0.0/9", "10.0.0.0/8"),
            ("10.0.0.0-10.255.255.255", "10.0.0.0/8"),
            ("fd00:ec2::254", "fd00:ec2::254/128"),
            ("0.0.0.0/0", "0.0.0.0-255.255.255.255"),
            ("80, 22", "22, 80"),
        ] {
            assert!(mk_set(one).same(&mk_set(other)), "{one} and {other}");
        }
        for (one, other) in [("22", "22, 80"), ("22-24", "22, 24"), ("http", "80")] {
            assert!(!mk_set(one).same(&mk_set(other)), "{one} and {other}");
        }
    }
}
