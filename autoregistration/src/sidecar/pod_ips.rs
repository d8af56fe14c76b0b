//! Which connections come from within the pod.

use std::net::IpAddr;

/// The addresses of the pod (`status.podIPs`).
///
/// A pod in the host's network has the node's, which others on the node have as well: this service must not run there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodIps(Vec<IpAddr>);

// === impl PodIps ===

impl PodIps {
    /// Whether a connection from `peer` comes from within the pod: from loopback, or from an address of the pod itself,
    /// from which its proxy dials the port that the client asked for.
    pub fn is_own(&self, peer: IpAddr) -> bool {
        // On a socket of both families IPv4 peers look like this.
        let peer = peer.to_canonical();
        peer.is_loopback() || self.0.contains(&peer)
    }
}

impl FromIterator<IpAddr> for PodIps {
    fn from_iter<I: IntoIterator<Item = IpAddr>>(ips: I) -> Self {
        Self(ips.into_iter().map(|ip| ip.to_canonical()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_is_loopback_and_the_pods_addresses_and_nothing_near_them() {
        let pod = ["10.1.2.3", "fd00::3"].map(|ip| ip.parse::<IpAddr>().unwrap());
        let pod = PodIps::from_iter(pod);
        for (peer, own) in [
            ("127.0.0.1", true),
            ("127.0.0.5", true),
            ("::1", true),
            ("::ffff:127.0.0.1", true),
            ("10.1.2.3", true),
            ("::ffff:10.1.2.3", true),
            ("fd00::3", true),
            ("10.1.2.4", false),
            ("::ffff:10.1.2.4", false),
            ("fd00::4", false),
            ("0.0.0.0", false),
            ("::", false),
            ("169.254.1.1", false),
        ] {
            assert_eq!(pod.is_own(peer.parse().unwrap()), own, "{peer}");
        }
        assert!(!PodIps::default().is_own([10, 1, 2, 3].into()));
    }
}
