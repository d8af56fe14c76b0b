//! Cluster IPs of Services that have none in their manifest: computed from namespace and name, so that they are the
//! same after a restart and on every machine. Of Services that want the same address, the one that had it keeps it;
//! after a restart it is the first by name.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;
use sha2::{Digest as _, Sha256};
use tracing::warn;

use crate::manifests::{ClusterIps, ServiceManifest};

/// Cluster IPs by namespace and name of the Service.
pub type ClusterIpsOf = BTreeMap<(String, String), Vec<IpAddr>>;

/// The Services with their cluster IPs. `before` is what they had: proxies and resolvers may know it, so that it moves
/// only when a manifest claims it for another Service. One whose network is full gets none.
pub fn assign(
    services: &BTreeMap<(String, String), ServiceManifest>,
    network: Ipv4Net,
    before: &ClusterIpsOf,
) -> ClusterIpsOf {
    let fixed = services
        .values()
        .flat_map(|service| match &service.cluster_ips {
            ClusterIps::Fixed(ips) => ips.clone(),
            ClusterIps::Computed | ClusterIps::Headless => Vec::new(),
        });
    let mut taken = fixed.collect::<BTreeSet<_>>();
    let computed = services
        .iter()
        .filter(|(_, service)| service.cluster_ips == ClusterIps::Computed);
    let kept = computed
        .filter_map(|(key, _)| {
            let inside = |ip: &IpAddr| matches!(ip, IpAddr::V4(ip) if network.contains(ip));
            // What was fixed until now may be anything.
            let ip = before.get(key)?.iter().copied().find(inside)?;
            taken.insert(ip).then(|| (key.clone(), ip))
        })
        .collect::<BTreeMap<_, _>>();
    services
        .iter()
        .map(|(key, service)| {
            let ips = match &service.cluster_ips {
                ClusterIps::Fixed(ips) => ips.clone(),
                ClusterIps::Headless => Vec::new(),
                ClusterIps::Computed => {
                    let free = || candidates(key, network).find(|ip| !taken.contains(ip));
                    let ip = kept.get(key).copied().or_else(free);
                    taken.extend(ip);
                    if ip.is_none() {
                        warn!(namespace = key.0, service = key.1, %network, "service without address, the network is full");
                    }
                    ip.into_iter().collect()
                }
            };
            (key.clone(), ips)
        })
        .collect()
}

/// Every usable address of the network once, beginning at the one that the name hashes to. The first address is left
/// out as well: Kubernetes gives it to the API server, and the VMs' resolvers and routes may know it.
fn candidates(
    (namespace, name): &(String, String),
    network: Ipv4Net,
) -> impl Iterator<Item = IpAddr> {
    let digest = Sha256::digest(format!("{namespace}/{name}"));
    let hash = digest
        .iter()
        .take(4)
        .fold(0_u32, |hash, byte| (hash << 8) | u32::from(*byte));
    let first = u32::from(network.network()).saturating_add(2);
    let usable = u32::from(network.broadcast()).saturating_sub(first);
    (0..usable).map(move |step| {
        // In 64 bits: the sum may pass 2^32, the remainder is below `usable`.
        let offset = (u64::from(hash) + u64::from(step)) % u64::from(usable);
        let offset = u32::try_from(offset).unwrap_or_default();
        IpAddr::V4(Ipv4Addr::from(first + offset))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(name: &str, cluster_ips: ClusterIps) -> ((String, String), ServiceManifest) {
        let service = ServiceManifest {
            namespace: "training".into(),
            name: name.into(),
            cluster_ips,
            ports: Vec::new(),
            selector: BTreeMap::new(),
        };
        (("training".into(), name.into()), service)
    }

    #[test]
    fn computed_ips_are_in_the_network_distinct_and_the_same_each_time() {
        let network = "10.96.0.0/28".parse().unwrap();
        let services = (0..13)
            .map(|n| service(&format!("s{n}"), ClusterIps::Computed))
            .collect();
        let assigned = assign(&services, network, &BTreeMap::new());
        let ips = assigned.values().flatten().collect::<BTreeSet<_>>();
        assert_eq!(ips.len(), 13, "a /28 has 13 usable addresses: .2 to .14");
        assert!(ips.iter().all(|ip| match ip {
            IpAddr::V4(ip) => network.contains(ip) && (2..=14).contains(&ip.octets()[3]),
            IpAddr::V6(_) => false,
        }));
        assert_eq!(assign(&services, network, &BTreeMap::new()), assigned);
    }

    #[test]
    fn a_full_network_leaves_a_service_without_an_address() {
        let services = (0..14)
            .map(|n| service(&format!("s{n}"), ClusterIps::Computed))
            .collect();
        let assigned = assign(&services, "10.96.0.0/28".parse().unwrap(), &BTreeMap::new());
        assert_eq!(assigned.values().filter(|ips| ips.is_empty()).count(), 1);
    }

    #[test]
    fn fixed_ips_are_kept_and_avoided_and_headless_gets_none() {
        let network = "10.96.0.0/30".parse().unwrap();
        let fixed: IpAddr = "10.96.0.2".parse().unwrap();
        let services = [
            service("a", ClusterIps::Computed),
            service("b", ClusterIps::Fixed(vec![fixed])),
            service("c", ClusterIps::Headless),
        ]
        .into();
        let assigned = assign(&services, network, &BTreeMap::new());
        let of = |name: &str| assigned[&("training".to_owned(), name.to_owned())].as_slice();
        assert!(of("a").is_empty());
        assert_eq!(of("b"), [fixed]);
        assert!(of("c").is_empty());
    }

    #[test]
    fn an_address_moves_only_when_a_manifest_claims_it() {
        let network = "10.96.0.0/28".parse().unwrap();
        let key = |name: &str| ("training".to_owned(), name.to_owned());
        let first = assign(
            &[service("a", ClusterIps::Computed)].into(),
            network,
            &BTreeMap::new(),
        );
        let ip = first[&key("a")][0];
        let services = [
            service("a", ClusterIps::Computed),
            service("b", ClusterIps::Fixed(vec![ip])),
        ]
        .into();
        let moved = assign(&services, network, &first);
        assert_eq!(moved[&key("b")], [ip]);
        assert_ne!(moved[&key("a")], [ip]);
        // The claim gone, nothing moves back.
        let alone = [service("a", ClusterIps::Computed)].into();
        assert_eq!(assign(&alone, network, &moved)[&key("a")], moved[&key("a")]);
    }
}
