//! The effective configuration, key by key, with where each value comes from.

use super::key::{Fallback, Key};
use super::keys::KEYS;
use super::node::Node;
use super::problem::Problems;
use super::reader::{given, wants_ipv6};

/// A key with the value that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The key.
    pub key: &'static Key,
    /// Its value as one would give it to the flag; empty for none.
    pub value: String,
    /// Where it comes from.
    pub source: Source,
}

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The file.
    File,
    /// It is the default.
    Default,
    /// It is required and not set.
    Missing,
}

/// Every key with the value that holds. Reports only what hides the values, such as a text that is not JSON; ask
/// [`super::Config::parse`] whether the values are right.
pub fn settings(text: &str) -> Result<Vec<Setting>, Problems> {
    let document = Node::document(text)?;
    let ipv6 = wants_ipv6(&document);
    let setting = |key: &&'static Key| {
        let (value, source) = match (given(&document, key), key.fallback) {
            (Some(node), _) => (shown(node), Source::File),
            (None, Fallback::Required) => (String::new(), Source::Missing),
            (None, Fallback::Computed(how)) => (format!("({how})"), Source::Default),
            (None, Fallback::Value(_) | Fallback::ByFamily { .. }) => {
                let text = key.default_text(ipv6).unwrap_or_default();
                (text.to_owned(), Source::Default)
            }
        };
        Setting { key, value, source }
    };
    Ok(KEYS.iter().map(setting).collect())
}

fn shown(node: &Node) -> String {
    match node {
        Node::List(nodes) => nodes.iter().map(shown).collect::<Vec<_>>().join(","),
        other => other.scalar().unwrap_or_else(|| other.to_string()),
    }
}

// === impl Source ===

impl Source {
    /// `file`, `default` or `missing`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Default => "default",
            Self::Missing => "missing",
        }
    }
}
