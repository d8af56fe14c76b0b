//! Takes values out of the document, key by key, and collects what is wrong with them.

use super::key::Key;
use super::keys::IPV6;
use super::node::Node;
use super::problem::Problem;
use super::value::Parsed;

/// Reads one document.
pub(super) struct Reader<'a> {
    document: &'a Node,
    ipv6: bool,
    problems: Vec<Problem>,
}

// === impl Reader ===

impl<'a> Reader<'a> {
    pub(super) fn new(document: &'a Node, problems: Vec<Problem>) -> Self {
        Self {
            document,
            ipv6: wants_ipv6(document),
            problems,
        }
    }

    /// The value of a key or its default; `None` when it has none or is wrong, which is then noted.
    pub(super) fn one<T>(&mut self, key: &Key, parse: fn(&str) -> Parsed<T>) -> Option<T> {
        if let Some(node) = given(self.document, key) {
            return self.scalar(key, node, parse);
        }
        if key.required() {
            self.problems.push(Problem::of_missing(key));
        }
        key.default_text(self.ipv6)
            .and_then(|text| parse(text).ok())
    }

    /// The values of a list or its default; `None` when one of them is wrong, and each that is wrong is noted.
    pub(super) fn list<T>(&mut self, key: &Key, parse: fn(&str) -> Parsed<T>) -> Option<Vec<T>> {
        match given(self.document, key) {
            None => {
                let default = key.default_text(self.ipv6).unwrap_or_default();
                items(default).map(|text| parse(text).ok()).collect()
            }
            Some(Node::List(nodes)) => {
                let values: Vec<_> = nodes
                    .iter()
                    .map(|node| self.scalar(key, node, parse))
                    .collect();
                values.into_iter().collect()
            }
            // The old name held one value, not a list.
            Some(node) if self.document.at(key.path).is_none() => {
                Some(vec![self.scalar(key, node, parse)?])
            }
            Some(node) => {
                let wrong = format!("is not a list; write [{node}]");
                self.problems
                    .push(Problem::of_value(key, Some(node), wrong));
                None
            }
        }
    }

    /// Notes that a value, right in itself, cannot stand beside the others.
    pub(super) fn note(&mut self, key: &Key, wrong: impl Into<String>) {
        let default = key
            .default_text(self.ipv6)
            .map(|text| Node::Text(text.to_owned()));
        let value = given(self.document, key).or(default.as_ref());
        self.problems.push(Problem::of_value(key, value, wrong));
    }

    pub(super) fn into_problems(self) -> Vec<Problem> {
        self.problems
    }

    fn scalar<T>(&mut self, key: &Key, node: &Node, parse: fn(&str) -> Parsed<T>) -> Option<T> {
        let parsed = match node.scalar() {
            Some(text) if text.is_empty() => Err("is empty".to_owned()),
            Some(text) => parse(&text),
            None => Err("is not a single value".to_owned()),
        };
        match parsed {
            Ok(value) => Some(value),
            Err(wrong) => {
                let problem = Problem::of_value(key, Some(node), wrong);
                self.problems.push(problem);
                None
            }
        }
    }
}

/// What the document sets for a key. `null` and, where there is a default, an empty text mean "not set": that is how
/// Go programs write an unset field.
pub(super) fn given<'a>(document: &'a Node, key: &Key) -> Option<&'a Node> {
    let old = || key.old_path.and_then(|old| document.at(old));
    let unset = |node: &Node| match node {
        Node::Null => true,
        Node::Text(text) => text.is_empty() && !key.required(),
        _ => false,
    };
    document
        .at(key.path)
        .or_else(old)
        .filter(|node| !unset(node))
}

/// Whether the document asks for both families, which some defaults depend on.
pub(super) fn wants_ipv6(document: &Node) -> bool {
    given(document, &IPV6).and_then(Node::scalar).as_deref() == Some("true")
}

/// The parts of a list as it is written on the command line.
pub(super) fn items(text: &str) -> impl Iterator<Item = &str> {
    text.split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
}
