//! Who is lost: decided by one replica, when every other one has said whom it has.

use std::collections::HashSet;
use std::time::Duration;

use tracing::{info, warn};

use super::workload::{Duty, Presence};
use super::{DISCONNECT_GRACE, Registry, Replicas, WORKLOAD_TTL};
use crate::store::{Ready, Status};

/// Who has a session on another replica.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Whether every replica has answered. Otherwise nobody can be called lost.
    pub complete: bool,
    /// Short fingerprints of the sessions of the others.
    pub present: HashSet<[u8; 16]>,
    /// Whether so many are lost at once that it is rather the network, or us.
    pub suspended: bool,
}

// === impl Registry ===

impl Registry {
    pub(super) fn set_leading(&mut self, leading: bool) {
        if self.leading == leading || self.replicas == Replicas::One {
            return;
        }
        self.leading = leading;
        // What was before we looked is not known.
        let keys = self.lost();
        for key in keys {
            if let Some(workload) = self.workloads.get_mut(&key) {
                workload.presence = Presence::Lost(self.now);
                if !leading && workload.duty == Duty::Mark {
                    workload.duty = Duty::None;
                }
            }
            self.settle(&key);
        }
    }

    pub(super) fn take_census(&mut self, census: &Census) {
        if !self.leading {
            return;
        }
        for key in self.lost() {
            let Some(workload) = self.workloads.get_mut(&key) else {
                continue;
            };
            let elsewhere = census.present.contains(&workload.fingerprint.short());
            if elsewhere || !census.complete {
                workload.presence = Presence::Lost(self.now);
            }
            // A removal that its VM has asked for goes on unless the VM is back.
            if elsewhere && workload.duty != Duty::None {
                workload.duty = Duty::None;
                self.settle(&key);
            }
        }
        if census.complete && !census.suspended {
            self.judge_lost();
        }
    }

    /// Marks those that nobody has heard of for the grace, removes those for the time to live.
    pub(super) fn judge_lost(&mut self) {
        let now = self.now;
        for key in self.lost() {
            let Some(workload) = self.workloads.get_mut(&key) else {
                continue;
            };
            let Some(since) = workload.lost_since().filter(|_| !workload.is_leaving()) else {
                continue;
            };
            if since.saturating_add(WORKLOAD_TTL) <= now {
                info!(
                    namespace = key.0,
                    workload = key.1,
                    "workload has expired, it is removed"
                );
                workload.retire("Expired", "its harness did not come back", now);
            } else if since.saturating_add(DISCONNECT_GRACE) <= now
                && workload.condition.ready.status != Status::Unknown
            {
                warn!(
                    namespace = key.0,
                    workload = key.1,
                    "workload unreachable, not ready"
                );
                workload.condition.set(
                    Ready {
                        status: Status::Unknown,
                        reason: "HarnessUnreachable".to_owned(),
                        message: "its harness has not been heard of".to_owned(),
                    },
                    now,
                );
                workload.duty = Duty::Mark;
            } else {
                continue;
            }
            self.settle(&key);
        }
    }

    /// When one of the lost will be judged, where that needs nobody's word.
    pub(super) fn judgement_due(&self) -> Option<Duration> {
        if self.replicas != Replicas::One {
            return None;
        }
        self.workloads
            .values()
            .filter(|workload| !workload.is_leaving())
            .filter_map(|workload| {
                let unknown = workload.condition.ready.status == Status::Unknown;
                let after = if unknown {
                    WORKLOAD_TTL
                } else {
                    DISCONNECT_GRACE
                };
                Some(workload.lost_since()?.saturating_add(after))
            })
            .min()
    }

    fn lost(&self) -> Vec<crate::store::Key> {
        self.workloads
            .iter()
            .filter(|(_, workload)| workload.stream().is_none())
            .map(|(key, _)| key.clone())
            .collect()
    }
}
