//! The labels of a workload: those of its group, and those that its VM asks for and the group allows.
//!
//! What a group does not allow is left out, and said, and never a reason to keep a VM out: an edit of the group must not
//! cut VMs off.

use std::collections::BTreeMap;

use linkerd_harness_core::labels::{ZONE, is_reserved};

use super::hello::Hello;
use crate::manifests::Group;

type Labels = BTreeMap<String, String>;

/// Keys that a warning names.
const NAMED: usize = 8;

/// Why a label that a VM asks for is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Why {
    /// No group can allow it.
    Reserved,
    /// The group's template sets it, to something else.
    OfTheGroup,
    /// The group does not allow it.
    NotAllowed,
}

/// The labels of the workload of a VM that said `hello`.
pub(super) fn of(group: &Group, hello: &Hello) -> Labels {
    let taken = hello.labels.iter();
    let taken = taken.filter(|(key, value)| why_not(group, key, value).is_none());
    let mut labels = group.labels.clone();
    labels.extend(taken.map(|(key, value)| (key.clone(), value.clone())));
    if !hello.zone.is_empty() {
        let zone = labels.entry(ZONE.to_owned());
        zone.or_insert_with(|| hello.zone.clone());
    }
    labels
}

/// The labels of a workload that has `there` now and whose VM is away: as if it had said what it said last. What its group
/// set before and lets VMs set now counts as its VM's, until that is back.
pub(super) fn kept(group: &Group, there: &Labels) -> Labels {
    let mut labels = group.labels.clone();
    for (key, value) in there {
        if key == ZONE || may_set(group, key) {
            labels.entry(key.clone()).or_insert_with(|| value.clone());
        }
    }
    labels
}

/// Whether `there` is what the group sets and nothing else but what it lets VMs set. Decided without making anything.
pub(super) fn are_of(group: &Group, there: &Labels) -> bool {
    let set = |(key, value)| there.get(key) == Some(value);
    let known = |key: &String| group.labels.contains_key(key) || key == ZONE || may_set(group, key);
    group.labels.iter().all(set) && there.keys().all(known)
}

/// What is not taken of the labels that a VM asks for, for people.
pub(super) fn warnings(group: &Group, hello: &Hello) -> Vec<String> {
    let mut ignored = BTreeMap::<Why, Vec<&str>>::new();
    for (key, value) in &hello.labels {
        if let Some(why) = why_not(group, key, value) {
            ignored.entry(why).or_default().push(key);
        }
    }
    let say = |(why, keys): (Why, Vec<&str>)| {
        let named = keys.iter().take(NAMED).map(|key| format!("`{key}`"));
        let list = named.collect::<Vec<_>>().join(", ");
        let list = match keys.len().saturating_sub(NAMED) {
            0 => list,
            more => format!("{list} and {more} more"),
        };
        let (one, is) = match keys.as_slice() {
            [_] => ("label", "is"),
            _ => ("labels", "are"),
        };
        let of = &hello.group;
        match why {
            Why::Reserved => format!(
                "{one} {list} {is} not taken: labels of kubernetes.io, k8s.io, linkerd.io and meshexpansion.io are not \
                 for VMs to set"
            ),
            Why::OfTheGroup => {
                format!(
                    "{one} {list} {is} not taken: the template of group {of} has another value, which wins"
                )
            }
            Why::NotAllowed => format!(
                "{one} {list} {is} not taken: group {of} does not allow that; add the key to spec.access.allowedLabels of \
                 the group (or the annotation meshexpansion.io/access-allowed-labels), or take it out of Workload.Labels \
                 of this machine"
            ),
        }
    };
    ignored.into_iter().map(say).collect()
}

fn why_not(group: &Group, key: &str, value: &str) -> Option<Why> {
    if is_reserved(key) {
        return Some(Why::Reserved);
    }
    match group.labels.get(key) {
        Some(set) => (set != value).then_some(Why::OfTheGroup),
        None => (!may_set(group, key)).then_some(Why::NotAllowed),
    }
}

/// Whether a VM of the group may set the label.
pub(super) fn may_set(group: &Group, key: &str) -> bool {
    !is_reserved(key) && group.allowed_labels.iter().any(|it| it.matches(key))
}

#[cfg(test)]
mod tests;
