//! For the fuzz targets only: our readers of what the host says.

use linkerd_harness_core::redirect::GuardRail;

use super::found::Found;
use super::{proc_net, sshd};

/// How many sockets the text of `/proc/net/tcp` holds.
pub fn sockets(text: &str) -> usize {
    proc_net::parse(text).count()
}

/// The ports in what `systemctl show` and `sshd -T` print.
pub fn ssh_ports(text: &str) -> Vec<u16> {
    let units = sshd::socket_unit_ports(text);
    units.chain(sshd::configured_ports(text)).collect()
}

/// The guard rails in the file that root leaves for the daemon; `None` where it makes no sense.
pub fn run_file(text: &[u8]) -> Option<Vec<GuardRail>> {
    let found: Found = serde_json::from_slice(text).ok()?;
    Some(found.rails.into_iter().collect())
}
