//! What the status of a group says. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::Shown;
use crate::crd::annotations::PAUSED;
use crate::crd::status::{ACCEPTED, ExternalGroupStatus, RESTRICTED, ROLLED_OUT, SETTINGS_TAKEN};
use crate::kubernetes::known::Refused;
use crate::manifests::{FieldProblem, Group};
use crate::registry::DefaultAccess;
use crate::registry::group_totals::GroupTotals;

/// What a condition says for people is cut to this many characters.
const LONGEST_MESSAGE: usize = 1024;
/// Said of a group that everybody may join.
pub(super) const OPEN: &str = "every VM with an identity of the trust domain may join; say who may in spec.access.identities \
                               (or the annotation meshexpansion.io/access), or set --default-access=deny";

/// What is known of a group.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts<'a> {
    pub(super) shown: &'a Shown,
    /// As it is taken; an earlier generation when the present one is refused.
    pub(super) group: Option<&'a Group>,
    pub(super) refused: Option<&'a Refused>,
    pub(super) totals: Option<&'a GroupTotals>,
    /// Annotations that are not taken.
    pub(super) problems: &'a [FieldProblem],
    pub(super) default_access: DefaultAccess,
}

/// Status, reason and message of a condition.
type Saying = (&'static str, &'static str, String);

// === impl Facts ===

impl Facts<'_> {
    /// Whether all of them speak of the same object and generation. They come on different ways.
    pub(super) fn agree(&self) -> bool {
        let is_of =
            |uid: &str, generation| uid == self.shown.uid && generation == self.shown.generation;
        let is_read = match (self.refused, self.group) {
            (Some(refused), _) => is_of(&refused.uid, refused.generation.unwrap_or_default()),
            (None, Some(group)) => is_of(&group.uid, group.generation),
            (None, None) => false,
        };
        let taken = self
            .group
            .map(|group| (group.uid.as_str(), group.generation));
        let counted = self.totals.and_then(|totals| totals.of.as_ref());
        is_read && taken == counted.map(|(uid, generation)| (uid.as_str(), *generation))
    }

    /// Whether every VM of the trust domain may join.
    pub(super) fn is_open(&self) -> bool {
        let is_restricted = |group: &Group| match &group.access {
            Some(access) => access.identities.is_some() || access.networks.is_some(),
            None => self.default_access == DefaultAccess::Deny,
        };
        !self.shown.deleting && self.group.is_some_and(|group| !is_restricted(group))
    }

    pub(super) fn wanted(&self, before: &ExternalGroupStatus, now: &Time) -> ExternalGroupStatus {
        let none = GroupTotals::default();
        let totals = self.totals.unwrap_or(&none);
        let sayings = [
            (ACCEPTED, Some(self.accepted())),
            (RESTRICTED, self.restricted()),
            (ROLLED_OUT, Some(self.rolled_out(totals))),
            (SETTINGS_TAKEN, self.settings_taken()),
        ];
        let conditions = sayings.into_iter().filter_map(|(name, saying)| {
            let (status, reason, message) = saying?;
            Some(Condition {
                type_: name.to_owned(),
                status: status.to_owned(),
                reason: reason.to_owned(),
                message: message.chars().take(LONGEST_MESSAGE).collect(),
                observed_generation: Some(self.shown.generation),
                last_transition_time: since(before, name, status).unwrap_or_else(|| now.clone()),
            })
        });
        let count = |count| Some(i32::try_from(count).unwrap_or(i32::MAX));
        ExternalGroupStatus {
            observed_generation: Some(self.shown.generation),
            workloads: count(totals.workloads),
            ready: count(totals.ready),
            updated: count(totals.updated),
            conditions: conditions.collect(),
        }
    }

    fn accepted(&self) -> Saying {
        if self.shown.deleting {
            let message = "the group is being deleted, no VM can join it";
            return ("False", "Terminating", message.to_owned());
        }
        let is_paused = self.group.is_some_and(|group| group.paused);
        match self.refused {
            None if is_paused => {
                let message = format!(
                    "the group is paused ({PAUSED}): nobody new joins, members stay as they are"
                );
                ("False", "Paused", message)
            }
            None => ("True", "Accepted", "VMs can join".to_owned()),
            Some(refused) if refused.kept => {
                let message = format!(
                    "VMs still get what an earlier generation said: {}",
                    list(&refused.problems)
                );
                ("False", "LastGoodKept", message)
            }
            Some(refused) => {
                let message = format!("no VM can join: {}", list(&refused.problems));
                ("False", "Invalid", message)
            }
        }
    }

    fn restricted(&self) -> Option<Saying> {
        let group = self.group?;
        if self.is_open() {
            return Some(("False", "OpenAccess", OPEN.to_owned()));
        }
        let Some(access) = &group.access else {
            let message =
                "the group does not say who may join, and --default-access is deny: nobody may";
            return Some(("True", "NobodyMayJoin", message.to_owned()));
        };
        let parts = [
            (access.identities.is_some(), "identities"),
            (access.networks.is_some(), "networks"),
            (access.max_workloads.is_some(), "maxWorkloads"),
        ];
        let given = parts.iter().filter(|(is_given, _)| *is_given);
        let given: Vec<&str> = given.map(|(_, name)| *name).collect();
        let message = format!("by {}", given.join(", "));
        Some(("True", "AccessGiven", message))
    }

    fn rolled_out(&self, totals: &GroupTotals) -> Saying {
        let GroupTotals {
            workloads, updated, ..
        } = totals;
        if self.refused.is_some() {
            let message = "this generation is not taken, see Accepted";
            ("False", "NotAccepted", message.to_owned())
        } else if self.group.is_some_and(|group| group.paused) {
            let message = "the group is paused: an edit of it reaches nobody until it is resumed";
            ("Unknown", "Paused", message.to_owned())
        } else if updated < workloads {
            let message = format!(
                "{updated} of {workloads} workloads are as this generation describes them; one whose VM is away follows when \
                 it is back"
            );
            ("False", "RollingOut", message)
        } else {
            let message = match workloads {
                0 => "no VM has joined".to_owned(),
                _ => "all workloads are as this generation describes them".to_owned(),
            };
            ("True", "RolledOut", message)
        }
    }

    fn settings_taken(&self) -> Option<Saying> {
        self.group?;
        Some(if self.problems.is_empty() {
            ("True", "Taken", String::new())
        } else {
            ("False", "AnnotationsIgnored", list(self.problems))
        })
    }
}

/// When the condition last changed its status, if it is to stay as it is.
fn since(before: &ExternalGroupStatus, name: &str, status: &str) -> Option<Time> {
    let mut conditions = before.conditions.iter();
    let same = conditions.find(|it| it.type_ == name && it.status == status);
    same.map(|condition| condition.last_transition_time.clone())
}

fn list(problems: &[FieldProblem]) -> String {
    let problems = problems.iter().map(ToString::to_string);
    problems.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests;
