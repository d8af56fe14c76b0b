//! Who may join a group. What cannot be understood here must never come to mean "everybody": it is a problem, and the
//! group is not taken.

use ipnet::IpNet;

use super::labels;
use super::node::Node;
use crate::crd::{annotations, limits};
use crate::identity::SpiffeId;

const FIELDS: [&str; 4] = ["identities", "networks", "allowedLabels", "maxWorkloads"];

/// Who may join a group. `None` means that this is not restricted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Identities, one of which a VM must have.
    pub identities: Option<Vec<IdentityPattern>>,
    /// Networks, in one of which each of its addresses must be.
    pub networks: Option<Vec<IpNet>>,
    /// Keys of labels that a VM may set for itself.
    pub allowed_labels: Vec<String>,
    /// How many workloads there may be at the same time.
    pub max_workloads: Option<u32>,
}

/// A SPIFFE ID, or everything below a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdentityPattern {
    /// This one.
    Exact(SpiffeId),
    /// Those that begin with this text, which ends with a slash.
    Below(String),
}

// === impl IdentityPattern ===

impl IdentityPattern {
    /// Whether `id` is one of them.
    pub fn matches(&self, id: &SpiffeId) -> bool {
        match self {
            Self::Exact(exact) => exact == id,
            Self::Below(prefix) => id.to_string().starts_with(prefix.as_str()),
        }
    }
}

/// The field, or the annotation that takes its place where the field is not known.
pub(super) fn read(field: &Node<'_>, annotation: &Node<'_>) -> Option<Access> {
    if field.present() && annotation.present() {
        annotation.problem(format!(
            "access is also given at spec.access; keep one of the two ({} is for clusters whose CRD has no such field)",
            annotations::ACCESS
        ));
    }
    if field.present() {
        return Some(access(field));
    }
    let value = annotation.parsed_document()?;
    Some(access(&annotation.document(&value)))
}

fn access(node: &Node<'_>) -> Access {
    for name in node.names() {
        if !FIELDS.contains(&name.as_str()) {
            node.field(&name)
                .problem(format!("is not known; write one of {}", FIELDS.join(", ")));
        }
    }
    if !FIELDS.iter().any(|name| node.field(name).present()) {
        node.problem(format!("says nothing; give one of {}", FIELDS.join(", ")));
    }
    let (identities, networks, keys, most) = (
        node.field("identities"),
        node.field("networks"),
        node.field("allowedLabels"),
        node.field("maxWorkloads"),
    );
    identities.at_most(limits::ACCESS);
    networks.at_most(limits::ACCESS);
    keys.at_most(limits::LABELS);
    Access {
        identities: identities
            .present()
            .then(|| identities.items().iter().filter_map(identity).collect()),
        networks: networks
            .present()
            .then(|| networks.items().iter().filter_map(network).collect()),
        allowed_labels: keys.items().iter().filter_map(label_key).collect(),
        max_workloads: most.present().then(|| most.number(0, 0)),
    }
}

fn identity(node: &Node<'_>) -> Option<IdentityPattern> {
    let text = node.required_text()?;
    let (exact, below) = match text.strip_suffix("/*") {
        // One that is below it must be a SPIFFE ID.
        Some(path) => (format!("{path}/x"), Some(format!("{path}/"))),
        None => (text.clone(), None),
    };
    match (exact.parse::<SpiffeId>(), below) {
        (Ok(_), Some(prefix)) => Some(IdentityPattern::Below(prefix)),
        (Ok(id), None) => Some(IdentityPattern::Exact(id)),
        (Err(error), _) => {
            node.problem(format!(
                "`{}` {error}; to allow all below a path, end it with /*",
                text.escape_debug()
            ));
            None
        }
    }
}

fn network(node: &Node<'_>) -> Option<IpNet> {
    let text = node.required_text()?;
    let network = text.parse::<IpNet>().ok();
    if network.is_none() {
        node.problem(format!(
            "`{}` is not a network; write e.g. 10.1.0.0/16",
            text.escape_debug()
        ));
    }
    network
}

fn label_key(node: &Node<'_>) -> Option<String> {
    let key = node.required_text()?;
    if !labels::is_key(&key) {
        node.problem(format!("`{}` is not a key of a label", key.escape_debug()));
    }
    Some(key)
}
