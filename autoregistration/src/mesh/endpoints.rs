//! `Destination.Get`: the ready members behind a Service's port, as a set that changes.
//!
//! A proxy merges `Add` into its set (same address, new endpoint) and takes `Remove` out. On a new stream it keeps the
//! old set until the first message, which is why that one has to be the whole set.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};

use linkerd2_proxy_api::destination::{
    AddrSet, NoEndpoints, Update, WeightedAddr, WeightedAddrSet, update,
};

use super::answer::{Answer, Question};
use super::endpoint::endpoint;
use super::target::{Known, Target};
use crate::view::{Member, Service, ServicePort, View};

/// Who is behind this? `None`: a path that nobody could be behind.
#[derive(Clone, Debug)]
pub(super) struct Endpoints(pub(super) Option<Target>);

/// The endpoints of a Service's port.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Set {
    /// Whether there is such a port.
    exists: bool,
    /// Metric labels of all endpoints.
    labels: HashMap<String, String>,
    endpoints: BTreeMap<SocketAddr, WeightedAddr>,
}

// === impl Endpoints ===

impl Question for Endpoints {
    type State = Set;
    type Message = Update;

    fn answer(&self, view: &View) -> Answer<Set> {
        let known = self
            .0
            .as_ref()
            .filter(|target| matches!(target, Target::Host(..)));
        let set = match known.map(|target| target.look_up(view)) {
            Some(Known::Service(service, Some(port))) => Set::of(view, service, port),
            _ => Set::default(),
        };
        // An empty set takes away the endpoints that a proxy still has from before our start.
        if view.restored || !set.endpoints.is_empty() {
            Answer::Give(set)
        } else {
            Answer::Change(set)
        }
    }

    fn messages(before: Option<Set>, now: Set) -> Vec<Update> {
        if now.endpoints.is_empty() {
            return vec![message(update::Update::NoEndpoints(NoEndpoints {
                exists: now.exists,
            }))];
        }
        let before = before.unwrap_or_default();
        let same_labels = before.labels == now.labels;
        let gone = before
            .endpoints
            .keys()
            .filter(|addr| !now.endpoints.contains_key(addr));
        let gone: Vec<_> = gone.map(|addr| (*addr).into()).collect();
        let new = now.endpoints.iter().filter(|(addr, endpoint)| {
            !same_labels || before.endpoints.get(addr) != Some(endpoint)
        });
        let new: Vec<_> = new.map(|(_, endpoint)| endpoint.clone()).collect();
        // New ones first, so that the set is not empty in between when all are replaced. Proxies ignore empty lists.
        let add = (!new.is_empty()).then(|| {
            message(update::Update::Add(WeightedAddrSet {
                addrs: new,
                metric_labels: now.labels,
            }))
        });
        let remove =
            (!gone.is_empty()).then(|| message(update::Update::Remove(AddrSet { addrs: gone })));
        add.into_iter().chain(remove).collect()
    }
}

// === impl Set ===

impl Set {
    fn of(view: &View, service: &Service, port: &ServicePort) -> Self {
        let mut endpoints = BTreeMap::new();
        for (member, number) in view
            .selected(service, port)
            .filter(|(member, _)| member.ready)
        {
            let Some(ip) = address(service, member) else {
                continue;
            };
            let addr = SocketAddr::new(ip, number);
            if let Some(endpoint) = endpoint(member, addr) {
                endpoints.entry(addr).or_insert(endpoint);
            }
        }
        let labels = [
            ("service", &service.name),
            ("namespace", &service.namespace),
        ];
        Self {
            exists: true,
            labels: labels
                .map(|(key, value)| (key.to_owned(), value.clone()))
                .into(),
            endpoints,
        }
    }
}

/// The address under which `member` serves `service`: one, in a family of the Service if it has one there, so that a
/// VM with two families does not count twice.
fn address(service: &Service, member: &Member) -> Option<IpAddr> {
    let ips = || member.ips.iter().map(IpAddr::to_canonical);
    let fits = |ip: &IpAddr| {
        service
            .cluster_ips
            .iter()
            .any(|own| own.is_ipv4() == ip.is_ipv4())
    };
    ips().find(fits).or_else(|| ips().next())
}

fn message(update: update::Update) -> Update {
    Update {
        update: Some(update),
    }
}

#[cfg(test)]
mod tests;
