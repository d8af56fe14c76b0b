//! All workloads, found by name, by machine and by address; and those of others, whose names and addresses are taken.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::name::Fingerprint;
use super::workload::Workload;
use crate::store::{Key, Stored};

/// All workloads.
#[derive(Debug, Default)]
pub(super) struct Workloads {
    ours: BTreeMap<Key, Workload>,
    foreign: BTreeMap<Key, Foreign>,
    by_fingerprint: BTreeMap<Fingerprint, Key>,
    by_ip: ByIp,
    foreign_by_ip: ByIp,
    by_group: BTreeMap<Key, BTreeSet<String>>,
}

type ByIp = BTreeMap<IpAddr, BTreeSet<Key>>;

/// A workload that somebody else has made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Foreign {
    pub(super) ips: Vec<IpAddr>,
    pub(super) identity: String,
}

// === impl Workloads ===

impl Workloads {
    pub(super) fn get(&self, key: &Key) -> Option<&Workload> {
        self.ours.get(key)
    }

    /// For changes of all but its addresses.
    pub(super) fn get_mut(&mut self, key: &Key) -> Option<&mut Workload> {
        self.ours.get_mut(key)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Key, &Workload)> {
        self.ours.iter()
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &Workload> {
        self.ours.values()
    }

    pub(super) fn len(&self) -> usize {
        self.ours.len()
    }

    pub(super) fn by_fingerprint(&self, fingerprint: Fingerprint) -> Option<&Key> {
        self.by_fingerprint.get(&fingerprint)
    }

    /// How many others there are in its group.
    pub(super) fn companions(&self, of: &Workload) -> usize {
        let group = (of.namespace().to_owned(), of.group.name.to_string());
        self.by_group.get(&group).map_or(0, |names| {
            names.len() - usize::from(names.contains(&of.name))
        })
    }

    /// Keys of others that have one of these addresses, ours and foreign ones.
    pub(super) fn holders(&self, key: &Key, ips: &[IpAddr]) -> BTreeSet<Key> {
        ips.iter()
            .flat_map(|ip| [self.by_ip.get(ip), self.foreign_by_ip.get(ip)])
            .flatten()
            .flatten()
            .filter(|other| *other != key)
            .cloned()
            .collect()
    }

    pub(super) fn foreign(&self, key: &Key) -> Option<&Foreign> {
        self.foreign.get(key)
    }

    /// Changes a workload in any way.
    pub(super) fn change(&mut self, key: &Key, change: impl FnOnce(&mut Workload)) {
        if let Some(mut workload) = self.take(key) {
            change(&mut workload);
            self.put(workload);
        }
    }

    pub(super) fn put(&mut self, workload: Workload) {
        let key = workload.key();
        drop(self.take(&key));
        self.by_fingerprint
            .insert(workload.fingerprint, key.clone());
        self.by_group
            .entry((key.0.clone(), workload.group.name.to_string()))
            .or_default()
            .insert(key.1.clone());
        list(&mut self.by_ip, &key, workload.ips());
        self.ours.insert(key, workload);
    }

    pub(super) fn take(&mut self, key: &Key) -> Option<Workload> {
        let workload = self.ours.remove(key)?;
        if self.by_fingerprint.get(&workload.fingerprint) == Some(key) {
            self.by_fingerprint.remove(&workload.fingerprint);
        }
        let group = (key.0.clone(), workload.group.name.to_string());
        if let Some(names) = self.by_group.get_mut(&group) {
            names.remove(&key.1);
            if names.is_empty() {
                self.by_group.remove(&group);
            }
        }
        unlist(&mut self.by_ip, key, workload.ips());
        Some(workload)
    }

    pub(super) fn put_foreign(&mut self, key: &Key, stored: &Stored) {
        self.take_foreign(key);
        list(&mut self.foreign_by_ip, key, &stored.spec.ips);
        let foreign = Foreign {
            ips: stored.spec.ips.clone(),
            identity: stored.spec.identity.clone(),
        };
        self.foreign.insert(key.clone(), foreign);
    }

    pub(super) fn take_foreign(&mut self, key: &Key) {
        if let Some(foreign) = self.foreign.remove(key) {
            unlist(&mut self.foreign_by_ip, key, &foreign.ips);
        }
    }

    /// Of ours and of others.
    pub(super) fn keys(&self) -> BTreeSet<Key> {
        self.ours
            .keys()
            .chain(self.foreign.keys())
            .cloned()
            .collect()
    }
}

fn list(by_ip: &mut ByIp, key: &Key, ips: &[IpAddr]) {
    for ip in ips {
        by_ip.entry(*ip).or_default().insert(key.clone());
    }
}

fn unlist(by_ip: &mut ByIp, key: &Key, ips: &[IpAddr]) {
    for ip in ips {
        if let Some(keys) = by_ip.get_mut(ip) {
            keys.remove(key);
            if keys.is_empty() {
                by_ip.remove(ip);
            }
        }
    }
}
