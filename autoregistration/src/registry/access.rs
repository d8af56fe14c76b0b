//! Whom a group lets in. Asked when a VM registers and when its addresses change.

use std::net::IpAddr;
use std::time::Duration;

use super::workload::Workload;
use super::{DefaultAccess, Registry};
use crate::crd::annotations::PAUSED;
use crate::refusal::{Reason, Refusal};

/// Only an edit of the group helps, or fewer VMs.
const RETRY: Duration = Duration::from_secs(60);

// === impl Registry ===

impl Registry {
    /// The refusal of a VM that would be `workload` at these addresses, and that its group does not let in.
    pub(super) fn not_let_in(&self, workload: &Workload, ips: &[IpAddr]) -> Option<Refusal> {
        let name = &workload.group;
        let key = (name.namespace.to_string(), name.name.to_string());
        let refuse = |reason, message| Some(Refusal::new(reason, message).retry_after(RETRY));
        let group = self.manifests.groups.get(&key)?;
        if group.paused && !self.is_in(workload) {
            let message = format!(
                "group {name} is paused, nobody new joins it; take the annotation {PAUSED} off the group"
            );
            return refuse(Reason::GroupPaused, message);
        }
        let Some(access) = &group.access else {
            return match self.rules.default_access {
                DefaultAccess::TrustDomain => None,
                DefaultAccess::Deny => {
                    let message = format!(
                        "group {name} does not say who may join it, and --default-access is deny; write spec.access \
                         (or the annotation meshexpansion.io/access) of the group"
                    );
                    refuse(Reason::IdentityNotAllowed, message)
                }
            };
        };
        if let Some(allowed) = &access.identities
            && !allowed.iter().any(|id| id.matches(&workload.identity))
        {
            let message = format!(
                "`{}` may not join group {name}; add it to spec.access.identities of the group, or give the VM \
                 another identity",
                workload.identity
            );
            return refuse(Reason::IdentityNotAllowed, message);
        }
        if let Some(allowed) = &access.networks {
            let outside = |ip: &&IpAddr| !allowed.iter().any(|network| network.contains(*ip));
            if let Some(ip) = ips.iter().find(outside) {
                let message = format!(
                    "`{ip}` is in none of the networks of group {name}; add its network to spec.access.networks of \
                     the group, or set AdvertiseAddresses of this machine"
                );
                return refuse(Reason::AddressNotAllowed, message);
            }
        }
        let others = self.workloads.companions(workload);
        // One that is in keeps its place, also when there are more than there may be.
        if let Some(most) = access.max_workloads
            && !self.is_in(workload)
            && usize::try_from(most).is_ok_and(|most| others >= most)
        {
            let message = format!(
                "group {name} has {others} workloads, and may have {most}; raise spec.access.maxWorkloads of the \
                 group, or stop another VM"
            );
            return refuse(Reason::GroupFull, message);
        }
        None
    }

    /// Whether it is a member already, be its VM here or away.
    fn is_in(&self, workload: &Workload) -> bool {
        let known = self.workloads.get(&workload.key());
        known.is_some_and(|it| it.fingerprint == workload.fingerprint && !it.is_leaving())
    }
}
