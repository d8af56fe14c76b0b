//! Who is lost: decided by one replica, when every other one has said whom it has.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use tracing::{error, info, warn};

use super::name::Fingerprint;
use super::session::Stage;
use super::workload::{Duty, Presence, Workload};
use super::{Effect, Registry, Replicas};
use crate::breaker::{Breaker, Change, Count};
use crate::kubernetes::events::Reason as Event;
use crate::shutdown;
use crate::store::{Key, Ready, Status};

/// Reason of a workload that is removed because its VM did not come back.
const EXPIRED: &str = "Expired";
/// A VM for which there was no room is told to come again after so long at most.
const TURN: Duration = Duration::from_secs(31);

/// Who has a session on another replica.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Whether every replica has answered. Otherwise nobody can be called lost.
    pub complete: bool,
    /// Short fingerprints of the sessions of the others.
    pub present: HashSet<[u8; 16]>,
}

// === impl Registry ===

impl Registry {
    pub(super) fn set_leading(&mut self, leading: bool) {
        if self.leading == leading || self.replicas == Replicas::One {
            return;
        }
        self.leading = leading;
        self.breaker = Breaker::default();
        self.forget_silence();
        // The VMs of the one that led before us may still be on their way to another replica.
        let on_their_way = shutdown::reconnect_window(self.workloads.len()) + TURN;
        self.judges_from = self.now.saturating_add(on_their_way);
        if leading {
            return;
        }
        // Whoever leads now says so himself.
        for key in self.lost() {
            if let Some(workload) = self.workloads.get_mut(&key)
                && (workload.duty == Duty::Mark || workload.condition.ready.reason == EXPIRED)
            {
                workload.duty = Duty::None;
                // What may never have been written is not so; else nobody would say it again.
                if let Some(ready) = workload.there.as_ref().map(|there| there.readiness()) {
                    workload.condition.set(ready, self.now);
                }
            }
            self.settle(&key);
        }
    }

    pub(super) fn take_census(&mut self, census: &Census) {
        if !self.leading {
            return;
        }
        if !census.complete {
            self.forget_silence();
            return self.effects.push(Effect::Swept("INCOMPLETE"));
        }
        let waiting = self.waiting();
        let mut elsewhere = 0;
        for key in self.lost() {
            let Some(workload) = self.workloads.get_mut(&key) else {
                continue;
            };
            let name = workload.fingerprint.short();
            let is_waiting = waiting.contains(&name) && workload.duty == Duty::None;
            if !is_waiting && !census.present.contains(&name) {
                continue;
            }
            elsewhere += 1;
            workload.presence = Presence::Lost(self.now);
            // It is back, whatever was to become of it.
            if workload.duty != Duty::None {
                workload.duty = Duty::None;
                self.settle(&key);
            }
        }
        self.count_lost(elsewhere);
        if self.breaker.is_active() || self.now < self.judges_from {
            self.effects.push(Effect::Swept("SUSPENDED"));
        } else {
            let called = self.judge_lost();
            self.breaker.called_unreachable(self.now, called);
            self.effects.push(Effect::Swept("COMPLETE"));
        }
    }

    /// VMs that have a stream here on which they are no workload, say because their group cannot be read.
    fn waiting(&self) -> HashSet<[u8; 16]> {
        let waiting = self.sessions.values();
        let waiting = waiting.filter(|session| matches!(session.stage, Stage::Waiting(_)));
        let names = waiting.map(|session| {
            let hello = &session.hello;
            Fingerprint::new(&hello.group, &session.caller, &hello.instance_id).short()
        });
        names.collect()
    }

    /// Whether so many are lost at once that it is rather the network, or us.
    fn count_lost(&mut self, elsewhere: usize) {
        let now = self.now;
        let lost = self
            .workloads
            .iter()
            .filter(|(_, workload)| is_missed(workload) && workload.lost_since() < Some(now))
            .map(|(key, workload)| (key.0.clone(), workload.group.name.to_string()))
            .collect::<Vec<_>>();
        let here = self.workloads.values().filter(|w| w.stream().is_some());
        let count = Count {
            present: here.count() + elsewhere,
            lost: lost.len(),
        };
        match self.breaker.count(now, count) {
            None => {}
            Some(Change::Began) => {
                error!(
                    lost = count.lost,
                    present = count.present,
                    "so many VMs are lost at once that none is called unreachable"
                );
                for group in lost.into_iter().collect::<BTreeSet<_>>() {
                    let message = format!(
                        "{} VMs of the mesh are lost at once, {} are there; none is called unreachable for an hour, or \
                         until they are back",
                        count.lost, count.present
                    );
                    self.notice_group(&group, Event::MassLoss, message);
                }
            }
            Some(change) => {
                info!(?change, "VMs that are lost are called unreachable again");
                self.forget_silence();
            }
        }
    }

    /// Nobody counts as silent from before.
    fn forget_silence(&mut self) {
        for key in self.lost() {
            if let Some(workload) = self.workloads.get_mut(&key) {
                workload.presence = Presence::Lost(self.now);
            }
        }
    }

    /// Marks those that nobody has heard of for the grace, removes those for the time to live. Answers how many it has
    /// marked.
    pub(super) fn judge_lost(&mut self) -> usize {
        let now = self.now;
        let mut called = 0;
        for key in self.lost() {
            let (grace, ttl) = (self.rules.disconnect_grace, self.ttl(&key));
            let Some(workload) = self.workloads.get_mut(&key) else {
                continue;
            };
            let Some(since) = workload.lost_since().filter(|_| !workload.is_leaving()) else {
                continue;
            };
            if since.saturating_add(ttl) <= now {
                info!(
                    namespace = key.0,
                    workload = key.1,
                    "workload has expired, it is removed"
                );
                workload.retire(EXPIRED, "its harness did not come back", now);
                let message = "its harness did not come back".to_owned();
                self.notice_workload(&key, Event::Removed, message);
            } else if since.saturating_add(grace) <= now
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
                called += 1;
                self.notice_readiness(&key);
            } else {
                continue;
            }
            self.settle(&key);
        }
        called
    }

    /// When one of the lost will be judged, where that needs nobody's word.
    pub(super) fn judgement_due(&self) -> Option<Duration> {
        if self.replicas != Replicas::One {
            return None;
        }
        self.workloads
            .iter()
            .filter(|(_, workload)| !workload.is_leaving())
            .filter_map(|(key, workload)| {
                let unknown = workload.condition.ready.status == Status::Unknown;
                let after = if unknown {
                    self.ttl(key)
                } else {
                    self.rules.disconnect_grace
                };
                Some(workload.lost_since()?.saturating_add(after))
            })
            .min()
    }

    /// How long the workload is kept while its VM is away. Nobody is taken for gone who is not yet taken for lost.
    fn ttl(&self, key: &Key) -> Duration {
        let group = self.workloads.get(key).and_then(|workload| {
            let group = (key.0.clone(), workload.group.name.to_string());
            self.manifests.groups.get(&group)
        });
        let ttl = group.and_then(|group| group.workload_ttl);
        ttl.unwrap_or(self.rules.workload_ttl)
            .max(self.rules.disconnect_grace)
    }

    fn lost(&self) -> Vec<Key> {
        self.workloads
            .iter()
            .filter(|(_, workload)| workload.stream().is_none())
            .map(|(key, _)| key.clone())
            .collect()
    }
}

/// Whether its VM ought to be there: it has neither said that it goes, nor is it known to be gone.
fn is_missed(workload: &Workload) -> bool {
    let ready = &workload.condition.ready;
    workload.stream().is_none()
        && !workload.is_leaving()
        && ready.status != Status::Unknown
        && ready.reason != "Draining"
}
