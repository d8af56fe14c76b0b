//! An address belongs to one workload: who has it, and who makes room.

use std::net::IpAddr;

use super::admission::LONG_WAIT;
use super::health::Status;
use super::session::{Stage, Wait};
use super::workload::Presence;
use super::{Registry, Replicas, StreamId};
use crate::kubernetes::events::Reason as Event;
use crate::refusal::{Reason, Refusal};
use crate::store::Key;

// === impl Registry ===

impl Registry {
    /// Frees the addresses of workloads whose VM is gone. False when that takes a moment.
    pub(super) fn make_room(
        &mut self,
        key: &Key,
        group: &Key,
        ips: &[IpAddr],
    ) -> Result<bool, Refusal> {
        let holders = self.workloads.holders(key, ips);
        if let Some(refusal) = holders
            .iter()
            .find_map(|holder| self.address_in_use(holder, group, ips))
        {
            return Err(refusal);
        }
        let now = self.now;
        for holder in &holders {
            if let Some(workload) = self.workloads.get_mut(holder)
                && !workload.is_leaving()
            {
                workload.retire(
                    "Replaced",
                    "its address belongs to another workload now",
                    now,
                );
                self.settle(holder);
                let message = "its address belongs to another workload now".to_owned();
                self.notice_workload(holder, Event::Removed, message);
            }
        }
        Ok(holders.is_empty())
    }

    /// The refusal of another VM, of `group` and with `ips`, one of which is an address of `holder`; `None` when `holder`
    /// may be replaced. The VM is told the name of a holder in its own group; others may be another tenant's.
    pub(super) fn address_in_use(
        &self,
        holder: &Key,
        group: &Key,
        ips: &[IpAddr],
    ) -> Option<Refusal> {
        let refusal = |theirs: &[IpAddr], of: Option<Key>, identity: &str, wait| {
            let shared = ips.iter().filter(|ip| theirs.contains(ip));
            let shared = shared.map(ToString::to_string).collect::<Vec<_>>();
            let shared = shared.join(", ");
            let name = if of.as_ref() == Some(group) {
                format!("workload {}/{}", holder.0, holder.1)
            } else {
                "another workload".to_owned()
            };
            let message =
                format!("{shared} is an address of {name}; two machines cannot share one");
            let detail = format!(
                "{shared} is an address of ExternalWorkload {}/{} ({})",
                holder.0,
                holder.1,
                identity.escape_debug()
            );
            let refusal = Refusal::new(Reason::AddressInUse, message);
            Some(refusal.with_detail(detail).retry_after(wait))
        };
        if let Some(foreign) = self.workloads.foreign(holder) {
            return refusal(&foreign.ips, None, &foreign.identity, LONG_WAIT);
        }
        let workload = self.workloads.get(holder)?;
        if workload.is_leaving() {
            return None;
        }
        let wait = match workload.presence {
            Presence::Connected(_) => LONG_WAIT,
            // Nobody has heard of its VM.
            Presence::Lost(_) if workload.condition.ready.status == Status::Unknown => return None,
            Presence::Lost(since) if self.replicas == Replicas::One => since
                .saturating_add(self.rules.disconnect_grace)
                .checked_sub(self.now)
                .filter(|wait| !wait.is_zero())?,
            // It may be on another replica.
            Presence::Lost(_) => self.rules.disconnect_grace,
        };
        let of = workload.group_key();
        refusal(workload.ips(), Some(of), workload.identity.as_str(), wait)
    }

    pub(super) fn wait_for_room(&mut self, stream: StreamId) {
        self.roomers.insert(stream);
        self.wait(stream, Wait::Room);
        self.tell_pending(stream, &leaving());
    }

    /// An address may be free.
    pub(super) fn admit_roomers(&mut self) {
        for stream in std::mem::take(&mut self.roomers) {
            let waits = self.sessions.get(&stream);
            if waits.is_some_and(|session| session.stage == Stage::Waiting(Wait::Room)) {
                self.admit(stream);
            }
        }
    }
}

/// To a VM whose address is to be free in a moment.
pub(super) fn leaving() -> Refusal {
    Refusal::new(
        Reason::AddressInUse,
        "the workload that had this address is being removed",
    )
}
