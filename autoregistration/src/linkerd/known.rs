//! The settings that are known, made of the events of three watches. Pure: what is good, what is wrong and why.
//!
//! An object that is gone or cannot be taken leaves its last good state in use: VMs keep what they have while a person
//! mends it. Those of a restarted list count when the list is complete.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::Event;

use super::annotations::PREFIXES;
use super::values::{Values, values};
use super::{Settings, anchors};
use crate::kubernetes::scope::{Awaited, Part, Scope};
use crate::manifests::FieldProblem;

/// Name of the `ConfigMap` with Linkerd's values.
pub(super) const CONFIG: &str = "linkerd-config";
/// Name of the `ConfigMap` with the trust anchors.
pub(super) const ANCHORS: &str = "linkerd-identity-trust-roots";
const CONFIG_KEY: &str = "values";
const ANCHORS_KEY: &str = "ca-bundle.crt";

/// What is wrong with an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// It is not there.
    Missing,
    /// It cannot be taken.
    Broken(Vec<FieldProblem>),
}

/// One object: its last good state, and what is wrong with it now.
#[derive(Clone, Debug)]
pub(super) struct Object<T> {
    good: Option<T>,
    trouble: Option<Trouble>,
    /// Whether a list that is under way has brought it.
    listed: bool,
}

/// What is known.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    pub(super) config: Object<Values>,
    pub(super) anchors: Object<Arc<str>>,
    namespaces: BTreeMap<String, BTreeMap<String, String>>,
    /// What a list has brought so far.
    listed: BTreeMap<String, BTreeMap<String, String>>,
    awaited: Awaited,
}

// === impl Known ===

impl Known {
    /// Nothing is known yet, of the namespaces of `scope` neither.
    pub(super) fn new(scope: &Scope) -> Self {
        Self {
            awaited: Awaited::new(scope),
            ..Self::default()
        }
    }

    /// Linkerd's values.
    pub(super) fn take_config(&mut self, event: Event<ConfigMap>) {
        self.config.take(event, |object| {
            key(object, CONFIG_KEY).and_then(|text| {
                values(text).map_err(|problems| problems.into_iter().map(in_values).collect())
            })
        });
    }

    /// The trust anchors.
    pub(super) fn take_anchors(&mut self, event: Event<ConfigMap>) {
        self.anchors.take(event, |object| {
            let text = key(object, ANCHORS_KEY)?;
            anchors::read(text)
                .map(Arc::from)
                .map_err(|message| vec![problem(ANCHORS_KEY, message)])
        });
    }

    /// A namespace, by the watch of `part`.
    pub(super) fn take_namespace(
        &mut self,
        part: &Part,
        event: Event<PartialObjectMeta<Namespace>>,
    ) {
        match event {
            Event::Init => self.listed.retain(|name, _| !part.has(name)),
            Event::InitApply(object) => annotated(&mut self.listed, object),
            Event::InitDone => {
                self.namespaces.retain(|name, _| !part.has(name));
                let listed = std::mem::take(&mut self.listed).into_iter();
                let (came, rest): (BTreeMap<_, _>, _) =
                    listed.partition(|(name, _)| part.has(name));
                self.namespaces.extend(came);
                self.listed = rest;
                self.awaited.came(part);
            }
            Event::Apply(object) => annotated(&mut self.namespaces, object),
            Event::Delete(object) => {
                let name = object.metadata.name.unwrap_or_default();
                self.namespaces.remove(&name);
            }
        }
    }

    /// The settings, once every part of them was good.
    pub(super) fn settings(&self, linkerd_namespace: &str) -> Option<Settings> {
        if !self.awaited.is_over() {
            return None;
        }
        Some(Settings::new(
            linkerd_namespace.to_owned(),
            self.config.good.clone()?,
            Arc::clone(self.anchors.good.as_ref()?),
            self.namespaces.clone(),
        ))
    }

    /// What was never good, for people.
    pub(super) fn missing(&self, linkerd_namespace: &str) -> Vec<String> {
        let object = |name: &str, good: bool, trouble: Option<&Trouble>| {
            (!good).then(|| match trouble {
                None => format!("ConfigMap {linkerd_namespace}/{name}"),
                Some(trouble) => format!("ConfigMap {linkerd_namespace}/{name} ({trouble})"),
            })
        };
        let (config, anchors) = (&self.config, &self.anchors);
        let parts = [
            object(CONFIG, config.is_known(), config.trouble()),
            object(ANCHORS, anchors.is_known(), anchors.trouble()),
            (!self.awaited.is_over()).then(|| "the list of namespaces".to_owned()),
        ];
        parts.into_iter().flatten().collect()
    }

    /// Values that are left to the chart's default.
    pub(super) fn ignored(&self) -> &[FieldProblem] {
        match &self.config.good {
            Some(values) => &values.ignored,
            None => &[],
        }
    }
}

// === impl Object ===

impl<T> Object<T> {
    /// What is wrong with it now.
    pub(super) fn trouble(&self) -> Option<&Trouble> {
        self.trouble.as_ref()
    }

    /// Whether it was ever good.
    pub(super) fn is_known(&self) -> bool {
        self.good.is_some()
    }

    fn take(
        &mut self,
        event: Event<ConfigMap>,
        read: impl FnOnce(&ConfigMap) -> Result<T, Vec<FieldProblem>>,
    ) {
        match event {
            Event::Init => self.listed = false,
            Event::InitDone if self.listed => {}
            Event::InitDone | Event::Delete(_) => self.trouble = Some(Trouble::Missing),
            Event::InitApply(object) | Event::Apply(object) => {
                self.listed = true;
                match read(&object) {
                    Ok(good) => {
                        self.good = Some(good);
                        self.trouble = None;
                    }
                    Err(problems) => self.trouble = Some(Trouble::Broken(problems)),
                }
            }
        }
    }
}

impl<T> Default for Object<T> {
    fn default() -> Self {
        Self {
            good: None,
            trouble: None,
            listed: false,
        }
    }
}

// === impl Trouble ===

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("is not there"),
            Self::Broken(problems) => {
                let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
                f.write_str(&problems.join("; "))
            }
        }
    }
}

fn key<'a>(object: &'a ConfigMap, key: &str) -> Result<&'a str, Vec<FieldProblem>> {
    let text = object.data.as_ref().and_then(|data| data.get(key));
    text.map(String::as_str)
        .ok_or_else(|| vec![problem(key, "is missing".to_owned())])
}

fn problem(key: &str, message: String) -> FieldProblem {
    FieldProblem {
        field: format!("data[{key}]"),
        message,
    }
}

/// A problem of the values, with the path of their text before its own.
fn in_values(of: FieldProblem) -> FieldProblem {
    let mut inside = problem(CONFIG_KEY, of.message);
    if !of.field.is_empty() {
        inside.field = format!("{}.{}", inside.field, of.field);
    }
    inside
}

/// Keeps what is Linkerd's: any other change of a namespace says nothing of proxies.
fn annotated(
    namespaces: &mut BTreeMap<String, BTreeMap<String, String>>,
    object: PartialObjectMeta<Namespace>,
) {
    let name = object.metadata.name.unwrap_or_default();
    let mut annotations = object.metadata.annotations.unwrap_or_default();
    annotations.retain(|name, _| PREFIXES.iter().any(|prefix| name.starts_with(prefix)));
    if annotations.is_empty() {
        namespaces.remove(&name);
    } else {
        namespaces.insert(name, annotations);
    }
}

#[cfg(test)]
mod tests;
