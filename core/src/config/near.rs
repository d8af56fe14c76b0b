//! The near miss: what somebody most likely meant.

use strsim::{damerau_levenshtein, jaro_winkler};

use super::key::Key;
use super::keys::KEYS;

/// How alike (0 to 1) two names must be for one to be proposed for the other.
const ALIKE: f64 = 0.86;
/// Shortest text that is looked for inside of names.
const PART_CHARS: usize = 4;

/// The known path nearest to an unknown one in the document.
pub(super) fn path(unknown: &str) -> Option<&'static str> {
    let known = KEYS.iter().map(|key| key.path);
    let sections = [
        "Control",
        "Dns",
        "Identity",
        "Identity.Backoff",
        "WorkloadGroup",
    ];
    nearest(unknown, known.chain(sections))
}

/// The known flag nearest to an unknown one, both without dashes.
pub(super) fn flag(unknown: &str) -> Option<&'static str> {
    let plain = |text: &str| text.replace(['-', '.', '_'], "").to_lowercase();
    let as_path = |key: &&&Key| plain(key.path) == plain(unknown);
    let by_path = KEYS.iter().find(as_path).map(|key| key.flag);
    by_path.or_else(|| nearest(unknown, KEYS.iter().map(|key| key.flag)))
}

fn nearest(unknown: &str, known: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    let unknown = unknown.to_lowercase();
    known
        .map(|name| (likeness(&unknown, &name.to_lowercase()), name))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, name)| name)
}

/// 1 for the same name or the same last part, less for spelling mistakes and parts of names.
fn likeness(unknown: &str, known: &str) -> f64 {
    let leaf = known.rsplit('.').next().unwrap_or(known);
    if unknown == known || unknown == leaf {
        return 1.0;
    }
    if damerau_levenshtein(unknown, known) <= 2 && unknown.len() >= PART_CHARS {
        return 0.99;
    }
    if damerau_levenshtein(unknown, leaf) <= 1 && unknown.len() >= PART_CHARS {
        return 0.98;
    }
    let part = unknown.len() >= PART_CHARS && known.contains(unknown);
    jaro_winkler(unknown, known).max(if part { 0.9 } else { 0.0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_what_was_meant() {
        for (slip, meant) in [
            ("Control.Adress", "Control.Address"),
            ("control.address", "Control.Address"),
            ("MinTTL", "Dns.MinTTL"),
            ("SpireSocketAddress", "Identity.SpireSocketAddress"),
            ("PortToRedirect", "PortsToRedirect"),
            ("Identity.Backof", "Identity.Backoff"),
        ] {
            assert_eq!(path(slip), Some(meant), "{slip}");
        }
        for (slip, meant) in [
            ("control-address", "control-plane-address"),
            ("control-server-id", "control-plane-identity"),
            ("workload-group-nmae", "workload-group-name"),
            ("group-namespace", "workload-group-namespace"),
            ("IPv6", "ipv6"),
            ("iptables", "iptables-mode"),
        ] {
            assert_eq!(flag(slip), Some(meant), "{slip}");
        }
    }

    #[test]
    fn nothing_is_proposed_for_what_is_like_nothing() {
        assert_eq!(path("Colour"), None);
        assert_eq!(flag("zzz"), None);
    }
}
