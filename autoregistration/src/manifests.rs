//! The desired state: `ExternalGroup`s and `Service`s as people write them for Kubernetes.
//!
//! Read from the files of a directory by [`files`]; published by [`watch`], its only writer. A set of files is taken
//! whole or not at all, and every problem is said with its file, document and field.

pub mod files;
pub mod watch;

mod access;
mod group;
mod labels;
mod node;
mod probe;
mod service;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use linkerd_harness_api::v1;
use linkerd_harness_core::labels::KeyPattern;

use crate::view::ServicePort;
pub use access::{Access, IdentityPattern};
pub(crate) use group::{DEFAULT_INBOUND_POLICY, OPAQUE_PORTS};
use node::Node;

/// Everything that the manifests say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifests {
    /// Groups by (namespace, name).
    pub groups: BTreeMap<(String, String), Group>,
    /// Services by (namespace, name).
    pub services: BTreeMap<(String, String), ServiceManifest>,
    /// Groups that are there and cannot be read: nobody can join them, and nobody is taken out.
    pub unreadable: BTreeSet<(String, String)>,
    /// The namespaces that are looked at; none means all.
    pub watched: BTreeSet<String>,
}

/// An `ExternalGroup`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Group {
    /// Kubernetes namespace.
    pub namespace: String,
    /// Name, at most 54 characters.
    pub name: String,
    /// uid; computed where the manifest has none.
    pub uid: String,
    /// Generation of its content; 1 where nobody counts.
    pub generation: i64,
    /// Rises with each edit, also when the group was deleted and made again, whose generations begin anew.
    pub edition: i64,
    /// Whether it is being deleted, so that nobody can join it any more.
    pub deleting: bool,
    /// Whether nobody new may join, and members stay as they are.
    pub paused: bool,
    /// How long the workload of a VM that is away is kept; `None` when the group does not say.
    pub workload_ttl: Option<Duration>,
    /// Labels of its workloads.
    pub labels: BTreeMap<String, String>,
    /// Annotations of its workloads.
    pub annotations: BTreeMap<String, String>,
    /// TCP ports of the application: name (may be empty), number.
    pub ports: Vec<(String, u16)>,
    /// Checks on the application, with Kubernetes' defaults filled in.
    pub probes: Vec<v1::Probe>,
    /// Who may join; `None` when the group does not say.
    pub access: Option<Access>,
    /// Labels that a VM may set for itself.
    pub allowed_labels: Vec<KeyPattern>,
}

/// A `Service`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceManifest {
    /// Kubernetes namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// What it says of its cluster IPs.
    pub cluster_ips: ClusterIps,
    /// TCP ports.
    pub ports: Vec<ServicePort>,
    /// Labels that a member must carry.
    pub selector: BTreeMap<String, String>,
}

/// What a Service says of its cluster IPs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClusterIps {
    /// Nothing: one is computed.
    Computed,
    /// `None`: headless.
    Headless,
    /// These.
    Fixed(Vec<IpAddr>),
}

/// A file: its name and its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Name, for messages.
    pub file: String,
    /// YAML or JSON, one or many documents.
    pub text: String,
}

/// Something in a manifest that cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// File name.
    pub file: String,
    /// Which document of the file, from 1.
    pub document: usize,
    /// Path of the field, e.g. `spec.probes[0].httpGet.port`; empty for the document itself.
    pub field: String,
    /// What is wrong and what to write instead.
    pub message: String,
}

/// Something in an object that cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldProblem {
    /// Path of the field; empty for the object itself.
    pub field: String,
    /// What is wrong and what to write instead.
    pub message: String,
}

/// The manifests cannot be taken; nothing of them is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", list(problems))]
pub struct Error {
    /// All of it.
    pub problems: Vec<Problem>,
}

/// An object of a kind that is not ours, left alone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ignored {
    /// File name.
    pub file: String,
    /// What it is and why it is left alone.
    pub what: String,
}

/// Reads all documents of all files.
pub fn parse(sources: &[Source]) -> Result<(Manifests, Vec<Ignored>), Error> {
    let mut reader = Reader::default();
    for source in sources {
        reader.file(source);
    }
    if reader.problems.is_empty() {
        Ok((reader.manifests, reader.ignored))
    } else {
        Err(Error {
            problems: reader.problems,
        })
    }
}

/// Reads one `ExternalGroup` that an API server has answered with. What is wrong is said with the field.
pub fn group(object: &serde_norway::Value) -> Result<Group, Vec<FieldProblem>> {
    let found = node::Problems::default();
    let group = group::read(&Node::root(object, &found));
    let problems = found.take();
    match group {
        Some(group) if problems.is_empty() => Ok(group),
        _ => Err(problems
            .into_iter()
            .map(|(field, message)| FieldProblem { field, message })
            .collect()),
    }
}

#[derive(Default)]
struct Reader {
    manifests: Manifests,
    ignored: Vec<Ignored>,
    problems: Vec<Problem>,
    /// Where each object was first seen: kind, namespace, name -> file.
    seen: BTreeMap<(&'static str, String, String), String>,
    fixed_ips: BTreeMap<IpAddr, String>,
}

// === impl Reader ===

impl Reader {
    fn file(&mut self, source: &Source) {
        use serde::Deserialize as _;
        for (index, document) in serde_norway::Deserializer::from_str(&source.text).enumerate() {
            match serde_norway::Value::deserialize(document) {
                Ok(value) => self.document(&source.file, index + 1, &value),
                Err(error) => {
                    self.problems.push(Problem {
                        file: source.file.clone(),
                        document: index + 1,
                        field: String::new(),
                        message: format!("is not YAML: {error}"),
                    });
                    // What follows a broken document is not known to be a document.
                    break;
                }
            }
        }
    }

    fn document(&mut self, file: &str, document: usize, value: &serde_norway::Value) {
        if value.is_null() {
            return;
        }
        let found = node::Problems::default();
        self.object(file, &Node::root(value, &found));
        self.problems
            .extend(found.take().into_iter().map(|(field, message)| Problem {
                file: file.to_owned(),
                document,
                field,
                message,
            }));
    }

    fn object(&mut self, file: &str, object: &Node<'_>) {
        let Some((version, kind)) = object
            .field("apiVersion")
            .required_text()
            .zip(object.field("kind").required_text())
        else {
            return;
        };
        match (version.as_str(), kind.as_str()) {
            ("v1", "List") => {
                for item in object.field("items").items() {
                    self.object(file, &item);
                }
            }
            ("workload.buoyant.io/v1alpha1", "ExternalGroup") => {
                if let Some(group) = group::read(object)
                    && self.first(
                        file,
                        object,
                        ("ExternalGroup", &group.namespace, &group.name),
                    )
                {
                    let key = (group.namespace.clone(), group.name.clone());
                    self.manifests.groups.insert(key, group);
                }
            }
            ("v1", "Service") => self.service(file, object),
            (version, "ExternalGroup") => object.field("apiVersion").problem(format!(
                "`{version}` is not known for ExternalGroup; write workload.buoyant.io/v1alpha1"
            )),
            (version, kind) => self.ignored.push(Ignored {
                file: file.to_owned(),
                what: format!("{kind} of {version}: this kind is not used here"),
            }),
        }
    }

    fn service(&mut self, file: &str, object: &Node<'_>) {
        if object.field("spec").field("type").text().as_deref() == Some("ExternalName") {
            self.ignored.push(Ignored {
                file: file.to_owned(),
                what: "Service of type ExternalName: it has no members".to_owned(),
            });
            return;
        }
        let Some(service) = service::read(object) else {
            return;
        };
        if !self.first(file, object, ("Service", &service.namespace, &service.name)) {
            return;
        }
        if let ClusterIps::Fixed(ips) = &service.cluster_ips {
            for ip in ips {
                let owner = format!("{}/{}", service.namespace, service.name);
                if let Some(other) = self.fixed_ips.insert(*ip, owner) {
                    object.field("spec").field("clusterIP").problem(format!(
                        "`{ip}` is also the address of Service {other}; leave it out to have one computed"
                    ));
                }
            }
        }
        let key = (service.namespace.clone(), service.name.clone());
        self.manifests.services.insert(key, service);
    }

    fn first(
        &mut self,
        file: &str,
        object: &Node<'_>,
        (kind, namespace, name): (&'static str, &str, &str),
    ) -> bool {
        let key = (kind, namespace.to_owned(), name.to_owned());
        if let Some(other) = self.seen.get(&key) {
            object.field("metadata").field("name").problem(format!(
                "{kind} {namespace}/{name} is already in `{other}`; remove one of them"
            ));
            return false;
        }
        self.seen.insert(key, file.to_owned());
        true
    }
}

// === impl Group ===

impl Group {
    /// The same group, with members that look like those of `before`.
    #[must_use]
    pub fn described_as(&self, before: &Self) -> Self {
        Self {
            labels: before.labels.clone(),
            annotations: before.annotations.clone(),
            ports: before.ports.clone(),
            probes: before.probes.clone(),
            allowed_labels: before.allowed_labels.clone(),
            ..self.clone()
        }
    }
}

// `v1::Probe` is a protobuf message: it has no floats here, so that equality is total, but derives only `PartialEq`.
impl Eq for Group {}

// === impl Problem ===

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`, document {}", self.file, self.document)?;
        if !self.field.is_empty() {
            write!(f, ", {}", self.field)?;
        }
        write!(f, ": {}", self.message)
    }
}

// === impl FieldProblem ===

impl fmt::Display for FieldProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.message)
    }
}

fn list(problems: &[Problem]) -> String {
    let lines = problems.iter().map(Problem::to_string).collect::<Vec<_>>();
    lines.join("\n")
}
