//! Who is behind a Service, as Linkerd's destination controller puts it together from slices, with its traps.
//!
//! An address is known by its workload's name alone. So what a workload's address, ports or identity become while it is
//! ready is not told on streams that are open; and of a slice that goes when its workload has gone before it, the address
//! stays.

use std::collections::BTreeMap;

use autoregistration::crd::ExternalWorkload;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use kube::ResourceExt as _;

use crate::slices::SERVICE_NAME;

pub(crate) type Key = (String, String);

/// A workload behind a Service.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Address {
    pub(crate) ip: String,
    /// Number by the name of the Service's port.
    pub(crate) ports: BTreeMap<String, u16>,
    pub(crate) zone: Option<String>,
    /// As it was when the slice was seen.
    pub(crate) workload: ExternalWorkload,
}

/// Addresses by the (namespace, name) of their workload.
pub(crate) type Addresses = BTreeMap<Key, Address>;

/// Addresses by the (namespace, name) of their Service.
#[derive(Clone, Debug, Default)]
pub(crate) struct Publisher {
    slices: BTreeMap<Key, EndpointSlice>,
    services: BTreeMap<Key, Addresses>,
}

// === impl Publisher ===

impl Publisher {
    /// What is behind a Service.
    pub(crate) fn of(&self, service: &Key) -> Option<&Addresses> {
        self.services.get(service)
    }

    /// A slice is there, or has changed.
    pub(crate) fn applied(
        &mut self,
        slice: EndpointSlice,
        workload: impl Fn(&Key) -> Option<ExternalWorkload>,
    ) {
        let Some(service) = service(&slice) else {
            return;
        };
        let key = key(&slice);
        let old = self.slices.get(&key);
        // What is not known is left out until its slice changes again.
        let new = addresses(&slice, workload);
        let known = self.services.entry(service).or_default();
        for (gone, _) in old.iter().flat_map(|old| ready(old)) {
            known.remove(&gone);
        }
        known.extend(new);
        self.slices.insert(key, slice);
    }

    /// A slice is gone.
    pub(crate) fn deleted(
        &mut self,
        slice: &EndpointSlice,
        workload: impl Fn(&Key) -> Option<ExternalWorkload>,
    ) {
        self.slices.remove(&key(slice));
        let known = service(slice).and_then(|service| self.services.get_mut(&service));
        if let Some(known) = known {
            for gone in addresses(slice, workload).into_keys() {
                known.remove(&gone);
            }
        }
    }

    /// All slices that there are were listed.
    pub(crate) fn listed(
        &mut self,
        slices: Vec<EndpointSlice>,
        workload: impl Fn(&Key) -> Option<ExternalWorkload>,
    ) {
        let here: Vec<Key> = slices.iter().map(key).collect();
        let gone = self.slices.iter().filter(|(key, _)| !here.contains(key));
        for slice in gone.map(|(_, slice)| slice.clone()).collect::<Vec<_>>() {
            self.deleted(&slice, &workload);
        }
        for slice in slices {
            self.applied(slice, &workload);
        }
    }
}

fn key(slice: &EndpointSlice) -> Key {
    (slice.namespace().unwrap_or_default(), slice.name_any())
}

fn service(slice: &EndpointSlice) -> Option<Key> {
    let name = slice.labels().get(SERVICE_NAME)?.clone();
    Some((slice.namespace()?, name))
}

/// Endpoints that are ready and a workload's.
fn ready(slice: &EndpointSlice) -> impl Iterator<Item = (Key, &Endpoint)> {
    let endpoints = slice.endpoints.iter().flatten();
    endpoints.filter_map(|endpoint| {
        let conditions = endpoint.conditions.as_ref();
        let target = endpoint.target_ref.as_ref()?;
        let ready = conditions.and_then(|it| it.ready).unwrap_or(true);
        (ready && target.kind.as_deref() == Some("ExternalWorkload")).then_some(())?;
        Some(((target.namespace.clone()?, target.name.clone()?), endpoint))
    })
}

fn addresses(
    slice: &EndpointSlice,
    workload: impl Fn(&Key) -> Option<ExternalWorkload>,
) -> Addresses {
    let ports = slice.ports.iter().flatten().filter_map(|port| {
        let number = port.port.and_then(|port| u16::try_from(port).ok())?;
        Some((port.name.clone().unwrap_or_default(), number))
    });
    let ports: BTreeMap<_, _> = ports.collect();
    ready(slice)
        .filter_map(|(key, endpoint)| {
            let address = Address {
                ip: endpoint.addresses.last()?.clone(),
                ports: ports.clone(),
                zone: endpoint.zone.clone(),
                workload: workload(&key)?,
            };
            Some((key, address))
        })
        .collect()
}

/// What a stream is told: added, then removed. Only who is new and who is gone counts.
pub(crate) fn difference<'a>(
    before: &'a Addresses,
    now: &'a Addresses,
) -> (Vec<&'a Address>, Vec<&'a Address>) {
    let without = |these: &'a Addresses, those: &'a Addresses| {
        let rest = these.iter().filter(|(key, _)| !those.contains_key(*key));
        rest.map(|(_, address)| address).collect()
    };
    (without(now, before), without(before, now))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn workload(_: &Key) -> Option<ExternalWorkload> {
        serde_json::from_value(json!({
            "metadata": { "name": "a", "namespace": "training" },
            "spec": { "meshTLS": { "identity": "spiffe://a/b", "serverName": "a.example" } },
        }))
        .ok()
    }

    fn slice(ip: &str, ready: bool) -> EndpointSlice {
        serde_json::from_value(json!({
            "metadata": {
                "name": "one", "namespace": "training", "labels": { SERVICE_NAME: "vm" },
            },
            "addressType": "IPv4",
            "endpoints": [{
                "addresses": [ip],
                "conditions": { "ready": ready },
                "targetRef": { "kind": "ExternalWorkload", "namespace": "training", "name": "a" },
            }],
            "ports": [{ "name": "", "port": 80 }],
        }))
        .unwrap()
    }

    fn now(publisher: &Publisher) -> Addresses {
        let service = ("training".to_owned(), "vm".to_owned());
        publisher.of(&service).cloned().unwrap_or_default()
    }

    #[test]
    fn another_address_under_the_same_name_is_told_to_nobody() {
        let mut publisher = Publisher::default();
        publisher.applied(slice("10.0.0.1", true), workload);
        let before = now(&publisher);
        publisher.applied(slice("10.0.0.2", true), workload);
        let after = now(&publisher);
        assert_ne!(before, after);
        assert_eq!(difference(&before, &after), (vec![], vec![]));
    }

    #[test]
    fn what_is_not_ready_in_between_is_told() {
        let mut publisher = Publisher::default();
        publisher.applied(slice("10.0.0.1", true), workload);
        let before = now(&publisher);
        publisher.applied(slice("10.0.0.1", false), workload);
        assert_eq!(difference(&before, &now(&publisher)).1[0].ip, "10.0.0.1");
        let before = now(&publisher);
        publisher.applied(slice("10.0.0.2", true), workload);
        assert_eq!(difference(&before, &now(&publisher)).0[0].ip, "10.0.0.2");
    }

    #[test]
    fn of_a_slice_that_goes_after_its_workload_the_address_stays() {
        let mut publisher = Publisher::default();
        publisher.applied(slice("10.0.0.1", true), workload);
        publisher.deleted(&slice("10.0.0.1", true), |_| None);
        assert_eq!(now(&publisher).len(), 1);
        publisher.applied(slice("10.0.0.1", true), workload);
        publisher.deleted(&slice("10.0.0.1", true), workload);
        assert_eq!(now(&publisher).len(), 0);
    }
}
