//! How far each group has come, for its status: counted from what the store has, which is all workloads, whichever
//! replica their VMs are on.

use std::collections::BTreeMap;

use super::Registry;
use super::labels;
use crate::manifests::Group;
use crate::store::{Key, Spec, Status, Stored};

/// How far a group has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupTotals {
    /// uid and generation of the group that this speaks of; `None` where none could be taken.
    pub of: Option<(String, i64)>,
    /// Its workloads.
    pub workloads: usize,
    /// Those that may receive traffic.
    pub ready: usize,
    /// Those that are as the group describes them.
    pub updated: usize,
}

/// What the workloads of a group have from it.
struct Described<'a> {
    group: &'a Group,
    annotations: BTreeMap<String, String>,
}

// === impl Registry ===

impl Registry {
    /// How far each group has come that is known or has workloads.
    pub fn group_totals(&self) -> BTreeMap<Key, GroupTotals> {
        let mut described = BTreeMap::new();
        let mut totals = BTreeMap::new();
        for (key, group) in &self.manifests.groups {
            let annotations = self.settings.workload_annotations(group);
            described.insert(key, Described { group, annotations });
            let of = Some((group.uid.clone(), group.generation));
            totals.insert(
                key.clone(),
                GroupTotals {
                    of,
                    ..GroupTotals::default()
                },
            );
        }
        for workload in self.workloads.values() {
            let Some(there) = workload.there.as_deref().filter(|there| !there.deleting) else {
                continue;
            };
            let key = (
                workload.namespace().to_owned(),
                workload.group.name.to_string(),
            );
            let is_updated = described.get(&key).is_some_and(|it| it.is_that_of(there));
            let totals: &mut GroupTotals = totals.entry(key).or_default();
            totals.workloads += 1;
            totals.ready += usize::from(there.readiness().status == Status::True);
            totals.updated += usize::from(is_updated);
        }
        totals
    }
}

// === impl Described ===

impl Described<'_> {
    fn is_that_of(&self, there: &Stored) -> bool {
        // Without a hash for those that nobody has added anything to, which are nearly all of them.
        self.is_exactly(&there.spec) || there.holds(&self.shape(&there.spec))
    }

    fn is_exactly(&self, spec: &Spec) -> bool {
        spec.group_uid == self.group.uid
            && spec.ports == self.group.ports
            && spec.annotations == self.annotations
            && labels::are_of(self.group, &spec.labels)
    }

    /// What the VM says of itself, described by the group.
    fn shape(&self, spec: &Spec) -> Spec {
        Spec {
            group_uid: self.group.uid.clone(),
            labels: labels::kept(self.group, &spec.labels),
            annotations: self.annotations.clone(),
            ports: self.group.ports.clone(),
            ..spec.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use linkerd_harness_core::labels::ZONE;

    use super::*;

    fn group() -> Group {
        Group {
            uid: "1".to_owned(),
            labels: [("app".to_owned(), "web".to_owned())].into(),
            ports: vec![("http".to_owned(), 80)],
            ..Group::default()
        }
    }

    fn there(change: impl FnOnce(&mut Spec)) -> Stored {
        let group = group();
        let annotations = [("a".to_owned(), "b".to_owned())].into();
        let described = Described {
            group: &group,
            annotations,
        };
        let mut spec = described.shape(&Spec::default());
        let applied = spec.hash();
        change(&mut spec);
        Stored {
            uid: "2".to_owned(),
            resource_version: "3".to_owned(),
            ours: true,
            deleting: false,
            applied,
            spec,
            ready: None,
        }
    }

    fn is_updated(
        there: &Stored,
        change: impl FnOnce(&mut Group, &mut BTreeMap<String, String>),
    ) -> bool {
        let mut group = group();
        let mut annotations = [("a".to_owned(), "b".to_owned())].into();
        change(&mut group, &mut annotations);
        let described = Described {
            group: &group,
            annotations,
        };
        described.is_that_of(there)
    }

    #[test]
    fn a_workload_is_updated_when_it_has_all_of_what_its_group_says_and_nothing_of_what_it_said() {
        let same = |_: &mut Group, _: &mut BTreeMap<String, String>| {};
        assert!(is_updated(&there(|_| {}), same));
        let zone = |spec: &mut Spec| drop(spec.labels.insert(ZONE.to_owned(), "z".to_owned()));
        assert!(is_updated(&there(zone), same), "the zone is the VM's");
        let own = |spec: &mut Spec| drop(spec.labels.insert("rack".to_owned(), "r7".to_owned()));
        let allows = |group: &mut Group, _: &mut BTreeMap<String, String>| {
            group.allowed_labels = vec!["rack".parse().unwrap()];
        };
        let mut said = there(own);
        said.applied = said.spec.hash();
        assert!(is_updated(&said, allows), "the label is the VM's");
        assert!(!is_updated(&said, same), "the VM may not set it any more");
        let by_hand =
            |spec: &mut Spec| drop(spec.labels.insert("by".to_owned(), "hand".to_owned()));
        assert!(
            is_updated(&there(by_hand), same),
            "what others add is theirs"
        );
        let less = |spec: &mut Spec| drop(spec.labels.remove("app"));
        assert!(!is_updated(&there(less), same));

        let now = there(|_| {});
        assert!(!is_updated(&now, |group, _| drop(
            group.labels.insert("b".to_owned(), "c".to_owned())
        )));
        assert!(!is_updated(&now, |group, _| group.labels.clear()));
        assert!(!is_updated(&now, |group, _| group.ports.clear()));
        assert!(!is_updated(&now, |group, _| "9".clone_into(&mut group.uid)));
        assert!(!is_updated(&now, |_, annotations| annotations.clear()));
    }
}
