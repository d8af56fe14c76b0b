//! Identities and DNS names, as the proxy reads them.

use std::fmt;

/// Who a proxy is: a URI (SPIFFE) or a DNS name (a pod).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Id {
    Uri(String),
    Dns(String),
}

impl Id {
    /// Reads a URI or else a DNS name.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::parse_uri(text)
            .or_else(|| is_dns_name(text).then(|| Self::Dns(text.to_ascii_lowercase())))
    }

    /// Reads a URI with a scheme and an authority.
    pub(crate) fn parse_uri(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let scheme_ok = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
        let rest_ok = !rest.is_empty()
            && !rest.starts_with('/')
            && rest.chars().all(|c| c.is_ascii_graphic());
        (scheme_ok && rest_ok).then(|| Self::Uri(text.to_owned()))
    }

    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Uri(text) | Self::Dns(text) => text,
        }
    }

    /// A URI with the scheme of SPIFFE.
    pub(crate) fn is_spiffe(&self) -> bool {
        matches!(self, Self::Uri(uri) if uri.split_once("://").is_some_and(|(s, _)| s.eq_ignore_ascii_case("spiffe")))
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A DNS name, with or without the last dot; not an IP address.
pub(crate) fn is_dns_name(text: &str) -> bool {
    let name = text.strip_suffix('.').unwrap_or(text);
    !name.is_empty()
        && name.len() <= 253
        && name.parse::<std::net::IpAddr>().is_err()
        && name.split('.').all(is_label)
}

fn is_label(label: &str) -> bool {
    !label.is_empty()
        && label.len() <= 63
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_dns_names_and_neither_are_told_apart() {
        assert_eq!(
            Id::parse("spiffe://td/vm"),
            Some(Id::Uri("spiffe://td/vm".into()))
        );
        assert_eq!(Id::parse("A.b.local"), Some(Id::Dns("a.b.local".into())));
        for bad in ["", "spiffe:///vm", "10.0.0.1", "a b", "-a.b", "spiffe://"] {
            assert_eq!(Id::parse(bad), None, "{bad:?}");
        }
        assert!(Id::parse("SPIFFE://td/vm").is_some_and(|id| id.is_spiffe()));
        assert!(Id::parse("https://td/vm").is_some_and(|id| !id.is_spiffe()));
    }
}
