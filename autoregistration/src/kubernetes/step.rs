//! The next step from what is there to what is wanted. Pure, and without a memory: after each step it is asked anew.
//!
//! Linkerd does not tell open streams when an endpoint that they have changes in place, nor when one is deleted and made
//! again between two looks. So an endpoint that is to be reached in another way, or that goes, first stops being one:
//! not ready, then out of the `EndpointSlice`s, then changed. And a replica of Linkerd that hears of a ready endpoint
//! before it has heard of the object forgets about it, so a new object is not ready at once.

use std::sync::Arc;

use crate::store::{Desired, Ready, Spec, Status, Stored};

use super::workload::Version;

/// Reason of a workload that is not ready while it changes.
pub(super) const RECONFIGURING: &str = "Reconfiguring";

/// What has been waited for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// That it is not ready has reached the `EndpointSlice`s, or it took too long.
    pub drained: bool,
    /// It is what it is for long enough that all of Linkerd's replicas know it.
    pub settled: bool,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// All is as it is wanted, or the object that was meant is not there.
    Nothing,
    /// An object of that name is not ours.
    Foreign,
    /// Not yet.
    Wait(Wait),
    /// Writing.
    Write {
        /// How urgent it is.
        lane: Lane,
        /// What.
        write: Write,
    },
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// [`Seen::drained`].
    Drained,
    /// [`Seen::settled`].
    Settled,
    /// The end of an object that is being deleted.
    Deleted,
}

/// A write to the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Makes the object.
    Create(Arc<Spec>),
    /// Changes all but its status.
    Apply(Version, Arc<Spec>),
    /// Changes its status.
    Mark(Version, Ready),
    /// Deletes it.
    Delete(Version),
}

/// The more urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// Peers still send there, and should not.
    NotReady,
    /// Peers could send there, and do not yet.
    Ready,
    /// Its VM waits for it.
    Create,
    /// It serves, and shall be described anew.
    Metadata,
    /// Nobody waits for it.
    Delete,
}

/// The next step. `there` is the newest that is known.
pub fn next(desired: &Desired, there: Option<&Stored>, seen: Seen) -> Step {
    let Some(there) = there else {
        return match desired {
            Desired::Present { spec, .. } => write(Lane::Create, Write::Create(Arc::clone(spec))),
            Desired::Marked { .. } | Desired::Gone { .. } => Step::Nothing,
        };
    };
    match desired {
        Desired::Present { .. } if !there.ours => Step::Foreign,
        _ if !is_meant(desired, there) => Step::Nothing,
        Desired::Present { spec, ready } => present(spec, ready, there, seen),
        Desired::Marked { ready, .. } => marked(ready, there, seen),
        Desired::Gone { ready, .. } => gone(ready, there, seen),
    }
}

/// Whether the step takes a workload out that serves, for no other reason than that its group describes it anew. So many
/// of a group may be out at a time, and no more.
pub fn takes_one_out(step: &Step) -> bool {
    matches!(
        step,
        Step::Write {
            lane: Lane::Metadata,
            write: Write::Mark(..)
        }
    )
}

/// Whether the next step needs [`Seen::drained`].
pub fn needs_drain(desired: &Desired, there: &Stored) -> bool {
    let is_out = there.ready.is_some() && there.readiness().status != Status::True;
    let changes = match desired {
        Desired::Present { spec, .. } => !there.is_reached_as(spec),
        Desired::Gone { .. } => true,
        Desired::Marked { .. } => false,
    };
    is_out && changes && !there.deleting && is_meant(desired, there)
}

fn is_meant(desired: &Desired, there: &Stored) -> bool {
    there.ours
        && match desired {
            Desired::Present { .. } => true,
            Desired::Marked { uid, .. } => *uid == there.uid,
            Desired::Gone { uid, .. } => uid.as_ref().is_none_or(|uid| *uid == there.uid),
        }
}

fn present(spec: &Arc<Spec>, ready: &Ready, there: &Stored, seen: Seen) -> Step {
    let apply = |lane| write(lane, Write::Apply(Version::of(there), Arc::clone(spec)));
    let is = there.readiness();
    if ready.status != Status::True && !is.same(ready) {
        return mark(Lane::NotReady, ready, there);
    }
    if there.deleting {
        return Step::Wait(Wait::Deleted);
    }
    if !there.is_reached_as(spec) {
        return if is.status == Status::True {
            let lane = if is_of_the_group(there, spec) {
                Lane::Metadata
            } else {
                Lane::NotReady
            };
            mark(lane, &reconfiguring(), there)
        } else if there.ready.is_some() && !seen.drained {
            Step::Wait(Wait::Drained)
        } else {
            apply(Lane::Create)
        };
    }
    // Before a new description: that one may wait for its turn among thousands.
    let becomes_ready = ready.status == Status::True && !is.same(ready);
    if becomes_ready && (is.status == Status::True || seen.settled) {
        return mark(Lane::Ready, ready, there);
    }
    if !there.holds(spec) {
        return apply(Lane::Metadata);
    }
    if becomes_ready {
        Step::Wait(Wait::Settled)
    } else {
        Step::Nothing
    }
}

fn marked(ready: &Ready, there: &Stored, seen: Seen) -> Step {
    let is = there.readiness();
    if is.same(ready) {
        Step::Nothing
    } else if ready.status != Status::True {
        mark(Lane::NotReady, ready, there)
    } else if is.status == Status::True || seen.settled {
        mark(Lane::Ready, ready, there)
    } else {
        Step::Wait(Wait::Settled)
    }
}

fn gone(ready: &Ready, there: &Stored, seen: Seen) -> Step {
    if there.readiness().status == Status::True {
        let status = match ready.status {
            Status::True => Status::False,
            status => status,
        };
        let ready = Ready {
            status,
            ..ready.clone()
        };
        mark(Lane::NotReady, &ready, there)
    } else if there.deleting {
        Step::Wait(Wait::Deleted)
    } else if there.ready.is_some() && !seen.drained {
        Step::Wait(Wait::Drained)
    } else {
        // One that never was ready is nobody's endpoint.
        write(Lane::Delete, Write::Delete(Version::of(there)))
    }
}

/// Whether all that is reached differently comes from the group's template, so that it may take its turn with those of
/// its other workloads.
fn is_of_the_group(there: &Stored, spec: &Spec) -> bool {
    let there = &there.spec;
    there.ips == spec.ips
        && there.proxy_inbound_port == spec.proxy_inbound_port
        && there.identity == spec.identity
        && there.server_name == spec.server_name
}

fn reconfiguring() -> Ready {
    Ready {
        status: Status::False,
        reason: RECONFIGURING.to_owned(),
        message: "its address, ports, identity or opaque ports are about to change".to_owned(),
    }
}

fn mark(lane: Lane, ready: &Ready, there: &Stored) -> Step {
    write(lane, Write::Mark(Version::of(there), ready.clone()))
}

fn write(lane: Lane, write: Write) -> Step {
    Step::Write { lane, write }
}

#[cfg(test)]
mod tests;
