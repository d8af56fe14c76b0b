//! Which ports of a member carry bytes that no proxy looks into.
//!
//! That is a joint decision of four answers (profile, outbound policy, endpoint, inbound policy); it is made here so
//! that they agree. Where they do not, connections break.

use linkerd_harness_core::names::PortRange;

use super::endpoint::is_proxy_port;
use crate::view::Member;

/// The annotation that replaces the default list.
const ANNOTATION: &str = "config.linkerd.io/opaque-ports";

/// Linkerd's default list: protocols in which the server speaks first.
pub(super) const DEFAULT: [u16; 8] = [25, 587, 3306, 4444, 5432, 6379, 9300, 11211];

/// Whether `port` of `member` is opaque. The proxy's own ports never are: they are reached without transport header.
pub(super) fn is_opaque(member: &Member, port: u16) -> bool {
    !is_proxy_port(port)
        && match member.annotations.get(ANNOTATION) {
            Some(list) => lists(list, port),
            None => DEFAULT.contains(&port),
        }
}

/// Whether `list` (`25,4000-4100`) names `port`. Entries that are no numbers or ranges count for nothing.
fn lists(list: &str, port: u16) -> bool {
    list.split(',')
        .filter_map(|entry| entry.trim().parse::<PortRange>().ok())
        .any(|range| range.bounds().contains(&port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::testing::member;

    #[test]
    fn the_annotation_replaces_the_default_list() {
        let mut vm = member("vm-a");
        assert!(is_opaque(&vm, 3306));
        assert!(!is_opaque(&vm, 80));
        let list = "80, 4000-4002,mysql,9-1".to_owned();
        vm.annotations.insert(ANNOTATION.to_owned(), list);
        for (port, opaque) in [
            (80, true),
            (3999, false),
            (4000, true),
            (4002, true),
            (3306, false),
            (5, false),
        ] {
            assert_eq!(is_opaque(&vm, port), opaque, "{port}");
        }
        vm.annotations.insert(ANNOTATION.to_owned(), String::new());
        assert!(!is_opaque(&vm, 3306));
    }

    #[test]
    fn the_proxys_own_ports_are_never_opaque() {
        let mut vm = member("vm-a");
        vm.annotations
            .insert(ANNOTATION.to_owned(), "1-65535".to_owned());
        assert!(is_opaque(&vm, 4189));
        assert!(!is_opaque(&vm, 4190));
        assert!(!is_opaque(&vm, 4191));
    }
}
