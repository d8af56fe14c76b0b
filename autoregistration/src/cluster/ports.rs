//! The ports of a replica.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tokio::net::TcpListener;

use crate::args::Args;
use crate::process::{Error, bind};

/// Where the state is shown.
const ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 9990);

/// Where it listens, with the ports that were given for port 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// Registration of VMs.
    pub registration: SocketAddr,
    /// The other replicas.
    pub peers: SocketAddr,
    /// Admin.
    pub admin: SocketAddr,
}

/// What is bound before anything is loaded, so that a port that is taken is said at once.
pub(super) struct Ports {
    pub(super) registration: TcpListener,
    pub(super) peers: TcpListener,
    pub(super) admin: TcpListener,
    pub(super) addresses: Addresses,
}

// === impl Ports ===

impl Ports {
    pub(super) async fn bind(args: &Args) -> Result<Self, Error> {
        let registration = bind(args.registration_listen, "--registration-listen").await?;
        let peers = bind(args.cluster.peer_listen, "--peer-listen").await?;
        let admin = bind(args.admin_listen.unwrap_or(ADMIN), "--admin-listen").await?;
        Ok(Self {
            addresses: Addresses {
                registration: registration.1,
                peers: peers.1,
                admin: admin.1,
            },
            registration: registration.0,
            peers: peers.0,
            admin: admin.0,
        })
    }
}
