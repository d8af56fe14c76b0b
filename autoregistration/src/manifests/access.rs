//! Who may join a group. What cannot be understood here must never come to mean "everybody": it is a problem, and the
//! group is not taken.

use ipnet::IpNet;
use linkerd_harness_core::labels::KeyPattern;

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

// === impl Access ===

impl Access {
    /// Which labels a VM may set says nothing of who may join.
    fn says_who(&self) -> bool {
        self.identities.is_some() || self.networks.is_some() || self.max_workloads.is_some()
    }
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

/// Who may join, and which labels a VM may set for itself: from the field, or from the annotations of the group that
/// take its place where the field is not known.
pub(super) fn read(field: &Node<'_>, said: &Node<'_>) -> (Option<Access>, Vec<KeyPattern>) {
    let annotation = said.field(annotations::ACCESS);
    if field.present() && annotation.present() {
        annotation.problem(format!(
            "access is also given at spec.access; keep one of the two ({} is for clusters whose CRD has no such field)",
            annotations::ACCESS
        ));
    }
    let text = if field.present() {
        None
    } else {
        annotation.parsed_document()
    };
    let node = match &text {
        Some(value) => annotation.document(value),
        None => field.clone(),
    };
    let access = (field.present() || text.is_some()).then(|| access(&node));
    let keys = keys(
        &node.field("allowedLabels"),
        &said.field(annotations::ALLOWED_LABELS),
    );
    (access.filter(Access::says_who), keys)
}

/// From the list, or from the annotation that takes its place.
fn keys(list: &Node<'_>, annotation: &Node<'_>) -> Vec<KeyPattern> {
    if list.present() && annotation.present() {
        annotation.problem("allowedLabels is also given in access; keep one of the two");
    }
    list.at_most(limits::LABELS);
    let texts = annotation.text().unwrap_or_default();
    let texts = texts
        .split(',')
        .map(str::trim)
        .filter(|text| !text.is_empty());
    let of_annotation = texts.map(|text| (annotation.clone(), text.to_owned()));
    let of_list = list.items().into_iter().filter_map(|item| {
        let text = item.required_text()?;
        Some((item, text))
    });
    let parsed = of_list.chain(of_annotation).filter_map(|(node, text)| {
        let key = text.parse::<KeyPattern>();
        key.map_err(|error| {
            node.problem(format!(
                "`{}` {error}; all with a prefix are prefix/*",
                text.escape_debug()
            ));
        })
        .ok()
    });
    let keys = parsed.collect::<Vec<_>>();
    if keys.len() > limits::LABELS && !list.present() {
        annotation.problem(format!(
            "has {} keys; at most {}",
            keys.len(),
            limits::LABELS
        ));
    }
    keys
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
    let (identities, networks, most) = (
        node.field("identities"),
        node.field("networks"),
        node.field("maxWorkloads"),
    );
    identities.at_most(limits::ACCESS);
    networks.at_most(limits::ACCESS);
    Access {
        identities: identities
            .present()
            .then(|| identities.items().iter().filter_map(identity).collect()),
        networks: networks
            .present()
            .then(|| networks.items().iter().filter_map(network).collect()),
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
