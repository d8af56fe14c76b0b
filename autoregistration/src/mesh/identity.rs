//! Which identities a proxy can verify. One that it cannot parse it drops, and connects in plaintext.

use linkerd_harness_core::names::DnsName;

use crate::view::Member;

/// Longest SPIFFE ID (SPIFFE-ID section 2.3).
const SPIFFE_ID_MAX: usize = 2048;

/// Whether proxies can be told to verify `member`. If not, it must not become an endpoint.
pub(crate) fn is_usable(member: &Member) -> bool {
    is_spiffe_id(&member.identity)
        && is_server_name(&member.server_name)
        && is_inbound_port(u32::from(member.proxy_inbound_port))
}

/// Whether `text` is a SPIFFE ID in the one form that every side compares byte by byte: `spiffe://`, a lower-case trust
/// domain, a path without empty or dot segments.
pub(super) fn is_spiffe_id(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("spiffe://") else {
        return false;
    };
    let mut parts = rest.split('/');
    let trust_domain = parts.next().unwrap_or_default();
    let domain_byte = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
    let segment_byte = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    text.len() <= SPIFFE_ID_MAX
        && (1..=255).contains(&trust_domain.len())
        && trust_domain.bytes().all(domain_byte)
        && parts.all(|part| !matches!(part, "" | "." | "..") && part.bytes().all(segment_byte))
}

/// Whether `text` can be sent as SNI: a DNS name without a trailing dot whose last label is not a number.
pub(super) fn is_server_name(text: &str) -> bool {
    let last = text.rsplit('.').next().unwrap_or_default();
    text.parse::<DnsName>().is_ok() && !last.is_empty() && !last.bytes().all(|b| b.is_ascii_digit())
}

/// Whether proxies take `port` as the inbound port of another proxy. They ignore 0 and 65535.
pub(super) fn is_inbound_port(port: u32) -> bool {
    (1..u32::from(u16::MAX)).contains(&port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_canonical_spiffe_ids_are_usable() {
        for good in [
            "spiffe://root.linkerd.cluster.local/vm-a",
            "spiffe://a",
            "spiffe://a/b/c.d_E-1",
        ] {
            assert!(is_spiffe_id(good), "{good}");
        }
        let long = format!("spiffe://a/{}", "b".repeat(SPIFFE_ID_MAX));
        for bad in [
            "",
            "vm-a",
            "spiffe://",
            "spiffe:///vm",
            "https://a/b",
            "SPIFFE://a/b",
            "spiffe://A/b",
            "spiffe://a/",
            "spiffe://a//b",
            "spiffe://a/../b",
            "spiffe://a/b?c",
            "spiffe://a:1/b",
            "spiffe://u@a/b",
            "spiffe://a/b c",
            &long,
        ] {
            assert!(!is_spiffe_id(bad), "{bad}");
        }
    }

    #[test]
    fn only_names_that_fit_into_sni_are_usable() {
        assert!(is_server_name(
            "vm-a.training.external.identity.linkerd.cluster.local"
        ));
        for bad in ["", "a.", ".", "a b", "10.0.0.1", "a.1", "-a", "a:80"] {
            assert!(!is_server_name(bad), "{bad}");
        }
    }

    #[test]
    fn ports_that_proxies_ignore_are_not_usable() {
        for (port, usable) in [
            (0, false),
            (1, true),
            (4143, true),
            (65534, true),
            (65535, false),
            (70000, false),
        ] {
            assert_eq!(is_inbound_port(port), usable, "{port}");
        }
    }
}
