//! Labels of a template. An API server would refuse a workload with a bad one.

use std::collections::BTreeMap;

use linkerd_harness_core::labels::{Invalid, is_key, is_value};

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
            labels.problem(format!("`{}` {}", key.escape_debug(), Invalid::Key));
        }
        if !is_value(value) {
            labels
                .field(key)
                .problem(format!("`{}` {}", value.escape_debug(), Invalid::Value));
        }
    }
    texts
}
