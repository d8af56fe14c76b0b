//! What keeps a VM from being a workload whoever else is one: its group does not let it in, or proxies would reach it in
//! plaintext, or not at all.

use std::net::IpAddr;
use std::time::Duration;

use super::Registry;
use super::workload::Workload;
use crate::mesh;
use crate::refusal::{Reason, Refusal};

/// Only an edit of the configuration helps.
const RETRY: Duration = Duration::from_secs(60);

// === impl Registry ===

impl Registry {
    /// Why `workload` cannot be.
    pub(super) fn obstacle(&self, workload: &Workload) -> Option<Refusal> {
        let refusal = self.not_let_in(workload, workload.ips());
        let refusal = refusal.or_else(|| self.address_not_allowed(workload.ips()));
        refusal.or_else(|| {
            let member = workload.member();
            (!mesh::is_usable(&member)).then(|| {
                let message = format!(
                    "proxies could not verify `{}`, which is `{}`: the name must be a DNS name of at most 253 \
                     characters whose last label is not a number; change the name of the group or namespace, or \
                     --identity-trust-domain",
                    member.server_name, member.identity
                );
                Refusal::new(Reason::UnusableIdentity, message).retry_after(RETRY)
            })
        })
    }

    /// The refusal of addresses for which proxies would not ask: they dial them as they are, in plaintext.
    pub(super) fn address_not_allowed(&self, ips: &[IpAddr]) -> Option<Refusal> {
        let networks = &self.settings.cluster_networks;
        let outside = |ip: &&IpAddr| !networks.iter().any(|network| network.contains(*ip));
        let ip = ips.iter().find(|ip| !networks.is_empty() && outside(ip))?;
        let message = format!(
            "`{ip}` is in none of the cluster networks, so that others would reach it in plaintext; add its network to \
             --cluster-networks of autoregistration, or set AdvertiseAddresses of this machine"
        );
        Some(Refusal::new(Reason::AddressNotAllowed, message).retry_after(RETRY))
    }
}
