//! All objects of a kind, as a watch tells of them.

use std::collections::BTreeMap;

use kube::ResourceExt as _;
use kube::runtime::watcher::Event;

type Objects<T> = BTreeMap<(String, String), T>;

/// Objects by (namespace, name).
#[derive(Debug)]
pub(crate) struct Known<T> {
    /// `None` until they were listed once.
    objects: Option<Objects<T>>,
    /// A list that is not complete yet.
    listed: Objects<T>,
}

impl<T> Default for Known<T> {
    fn default() -> Self {
        Self {
            objects: None,
            listed: Objects::new(),
        }
    }
}

// === impl Known ===

impl<T: kube::Resource> Known<T> {
    pub(crate) fn take(&mut self, event: Event<T>) {
        let key = |object: &T| (object.namespace().unwrap_or_default(), object.name_any());
        match event {
            Event::Init => self.listed.clear(),
            Event::InitApply(object) => drop(self.listed.insert(key(&object), object)),
            Event::InitDone => self.objects = Some(std::mem::take(&mut self.listed)),
            Event::Apply(object) => {
                let objects = self.objects.get_or_insert_default();
                objects.insert(key(&object), object);
            }
            Event::Delete(object) => {
                let objects = self.objects.get_or_insert_default();
                objects.remove(&key(&object));
            }
        }
    }

    /// All of them, once they were listed.
    /// The one by this (namespace, name).
    pub(crate) fn get(&self, key: &(String, String)) -> Option<&T> {
        self.objects.as_ref()?.get(key)
    }

    pub(crate) fn all(&self) -> Option<impl Iterator<Item = &T>> {
        Some(self.objects.as_ref()?.values())
    }
}
