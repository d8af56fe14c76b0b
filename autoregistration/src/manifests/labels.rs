//! Labels of a template. An API server would refuse a workload with a bad one.

use std::collections::BTreeMap;

use linkerd_harness_core::names::DnsName;

use super::node::Node;
use crate::crd::limits;

/// Labels that are valid; the others are noted.
pub(super) fn read(labels: &Node<'_>) -> BTreeMap<String, String> {
    let texts = labels.texts();
    if texts.len() > limits::LABELS {
        labels.problem(format!(
            "has {} entries; at most {}",
            texts.len(),
            limits::LABELS
        ));
    }
    for (key, value) in &texts {
        if !is_key(key) {
            labels.problem(format!(
                "`{}` is not a key of a label; write name or prefix/name, of a-z, A-Z, 0-9, -, _ and .",
                key.escape_debug()
            ));
        }
        if !value.is_empty() && !is_name(value) {
            labels.field(key).problem(format!(
                "`{}` is not a value of a label (up to 63 of a-z, A-Z, 0-9, -, _ and ., a letter or digit at both ends)",
                value.escape_debug()
            ));
        }
    }
    texts
}

/// `name` or `prefix/name`, the prefix being a DNS name.
pub(super) fn is_key(key: &str) -> bool {
    match key.split_once('/') {
        None => is_name(key),
        Some((prefix, name)) => {
            let lower = !prefix.contains(|c: char| c.is_ascii_uppercase() || c == '_');
            is_name(name)
                && lower
                && prefix
                    .parse::<DnsName>()
                    .is_ok_and(|name| name.without_dot() == prefix)
        }
    }
}

fn is_name(text: &str) -> bool {
    let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    text.len() <= 63
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        && ends(text.chars().next())
        && ends(text.chars().next_back())
}
