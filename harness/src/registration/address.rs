//! Which of this host's addresses the mesh can reach: the one from which packets to the control plane leave.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};

/// The source address of the route to `peer`. Sends nothing: connecting a UDP socket only asks the routing table.
pub fn towards(peer: SocketAddr) -> io::Result<IpAddr> {
    let any: SocketAddr = match peer {
        SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
        SocketAddr::V6(_) => ([0_u16; 8], 0).into(),
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect(peer)?;
    Ok(socket.local_addr()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_that_of_the_route() {
        let local = towards(([127, 0, 0, 1], 9).into()).unwrap();
        assert_eq!(local, IpAddr::from([127, 0, 0, 1]));
    }
}
