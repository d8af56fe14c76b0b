//! The policies that rule until the controller has answered, by the names of the environment.

use super::{Authentication, Authorization, Meta, Network, Protocol, ServerPolicy};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// Reads `LINKERD2_PROXY_INBOUND_DEFAULT_POLICY`. The cluster's policies need the cluster's networks, and so, by a
/// quirk of the real proxy, does `audit`.
pub(crate) fn named(
    name: &str,
    cluster: &[IpNet],
    timeout: Duration,
) -> Result<ServerPolicy, String> {
    let any_identity = || Authentication::Identities {
        exact: BTreeSet::new(),
        suffixes: vec![String::new()],
    };
    let (networks, authentication) = match name {
        "deny" => return Ok(deny()),
        "all-unauthenticated" => return Ok(all_unauthenticated(timeout)),
        "all-authenticated" => (all(), any_identity()),
        _ if cluster.is_empty() => return Err(format!("InvalidPortPolicy({name:?})")),
        "cluster-authenticated" => (cluster.to_vec(), any_identity()),
        "cluster-unauthenticated" => (cluster.to_vec(), Authentication::Unauthenticated),
        "audit" => (all(), Authentication::Unauthenticated),
        _ => return Err(format!("InvalidPortPolicy({name:?})")),
    };
    Ok(policy(name, networks, authentication, timeout))
}

pub(crate) fn all_unauthenticated(timeout: Duration) -> ServerPolicy {
    policy(
        "all-unauthenticated",
        all(),
        Authentication::Unauthenticated,
        timeout,
    )
}

/// Opaque and closed: HTTP requests that arrive by another way are not found rather than forbidden.
fn deny() -> ServerPolicy {
    ServerPolicy {
        protocol: Protocol::Opaque,
        meta: Meta::default_named("deny"),
        authorizations: Arc::new([]),
        routes: Arc::new([]),
    }
}

fn all() -> Vec<IpNet> {
    vec![Ipv4Net::default().into(), Ipv6Net::default().into()]
}

fn policy(
    name: &str,
    networks: Vec<IpNet>,
    authentication: Authentication,
    timeout: Duration,
) -> ServerPolicy {
    let networks = networks
        .into_iter()
        .map(|net| Network {
            net,
            except: Vec::new(),
        })
        .collect();
    let meta = Meta::default_named(name);
    ServerPolicy {
        protocol: Protocol::Detect(timeout),
        authorizations: Arc::new([Authorization {
            networks,
            authentication,
            meta: meta.clone(),
        }]),
        meta,
        routes: Arc::new([]),
    }
}
