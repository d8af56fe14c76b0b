//! When nothing may be said yet.

use std::net::IpAddr;

use crate::view::View;

/// Whether `ip`, which is no Service's and no present member's, may still turn out to be a member's.
///
/// After a start the VMs need a moment to come back. A proxy that is told meanwhile that an address is unknown
/// connects in plaintext, and at once, on streams that are already open. Addresses outside of the cluster networks are
/// not waited for: proxies never ask for the profile of one of them, so that the answer decides nothing about TLS, while
/// silence would keep VMs from the internet. Without cluster networks no address can be excluded.
pub(super) fn may_be_member(view: &View, ip: IpAddr) -> bool {
    let networks = &view.settings.cluster_networks;
    !view.restored && (networks.is_empty() || networks.iter().any(|net| net.contains(&ip)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::testing::mesh;

    #[test]
    fn addresses_are_waited_for_until_the_state_is_restored() {
        let mut view = mesh();
        let inside = "10.77.0.99".parse().unwrap();
        let outside = "192.0.2.1".parse().unwrap();
        assert!(!may_be_member(&view, inside));
        view.restored = false;
        assert!(may_be_member(&view, inside));
        assert!(!may_be_member(&view, outside));
        view.settings.cluster_networks.clear();
        assert!(may_be_member(&view, outside));
    }
}
