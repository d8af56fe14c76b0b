//! Whether a message is one that a proxy takes as it is meant.
//!
//! A proxy does not report what it misses: it answers every request with 500 or 403, connects in plaintext, or panics
//! a task. The rules were found by leaving out each field in turn. A message with faults is a mistake of this module and
//! nothing a user can cause, so that it is looked for in tests and debug builds and not at run time.

mod destination;
mod inbound;
mod outbound;

use std::fmt::Debug;

use linkerd2_proxy_api::meta::{Metadata, Resource, metadata};

/// A message whose rules are known.
pub(super) trait Checked: Debug {
    /// What is wrong with it; nothing if a proxy takes it as it is meant.
    fn faults(&self) -> Vec<String>;
}

/// Collects what is wrong.
#[derive(Debug, Default)]
struct Faults(Vec<String>);

// === impl Faults ===

impl Faults {
    /// Notes `what` unless `holds`.
    fn must(&mut self, holds: bool, what: &str) {
        if !holds {
            self.0.push(what.to_owned());
        }
    }

    /// The value, or a note that it is missing.
    fn need<'a, T>(&mut self, value: Option<&'a T>, what: &str) -> Option<&'a T> {
        self.must(value.is_some(), &format!("{what} is missing"));
        value
    }

    /// Notes the faults of a part, under its name.
    fn part(&mut self, name: &str, part: &impl Checked) {
        self.0
            .extend(part.faults().iter().map(|fault| format!("{name}: {fault}")));
    }

    fn positive(&mut self, duration: Option<&prost_types::Duration>, what: &str) {
        if let Some(duration) = self.need(duration, what) {
            let positive = duration.seconds > 0 || (duration.seconds == 0 && duration.nanos > 0);
            self.must(positive, &format!("{what} is not positive"));
        }
    }

    /// Metadata of a resource needs a group, kind, name and namespace; that of a default any name.
    fn metadata(&mut self, metadata: Option<&Metadata>) {
        let kind = metadata.and_then(|metadata| metadata.kind.as_ref());
        match self.need(kind, "metadata") {
            Some(metadata::Kind::Default(name)) => self.must(!name.is_empty(), "default is empty"),
            Some(metadata::Kind::Resource(Resource {
                group,
                kind,
                name,
                namespace,
                ..
            })) => {
                let filled = [group, kind, name, namespace]
                    .iter()
                    .all(|text| !text.is_empty());
                self.must(filled, "resource lacks group, kind, name or namespace");
            }
            None => {}
        }
    }
}
