//! Where a connection comes from.

use std::net::SocketAddr;

use super::PodIps;
use crate::refusal::{Reason, Refusal};

/// The other end of a connection; in the extensions of each request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its address.
    pub addr: SocketAddr,
    own: bool,
}

// === impl Peer ===

impl Peer {
    /// A connection from `addr` to a pod with these addresses.
    pub fn new(addr: SocketAddr, pod: &PodIps) -> Self {
        Self {
            addr,
            own: pod.is_own(addr.ip()),
        }
    }

    /// Whether what it says of clients is believed.
    pub(crate) fn is_trusted(&self) -> Result<(), Refusal> {
        if self.own {
            return Ok(());
        }
        Err(Refusal::new(
            Reason::NoClientIdentity,
            format!(
                "this port takes connections from its pod's own Linkerd proxy only, and yours comes from {}; \
                 the pod must be injected (linkerd.io/inject: enabled) and must not skip this inbound port",
                self.addr.ip().to_canonical()
            ),
        ))
    }

    pub(super) fn is_own(&self) -> bool {
        self.own
    }
}

/// The refusal of a request of which it is not known where it comes from.
pub(crate) fn unknown() -> Refusal {
    Refusal::new(
        Reason::NoClientIdentity,
        "it is not known where this connection comes from",
    )
}
