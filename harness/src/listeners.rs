//! The TCP sockets that listen on this host, asked for over netlink (`sock_diag(7)`): a few microseconds, whatever else the
//! host has. The lists in `/proc/net` come after a walk through the table of all connections, which takes milliseconds on a
//! machine with much memory, however few there are.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, IPPROTO_TCP};
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, SocketId, StateFlags};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};

/// More than the kernel puts into one datagram of an answer.
const DATAGRAM: usize = 1 << 15;

/// A socket that listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Listener {
    /// Who made it.
    pub(crate) uid: u32,
    /// Names the socket in `/proc/<pid>/fd`.
    pub(crate) inode: u64,
}

/// Those of both families, on any port.
///
/// # Errors
/// The kernel does not tell, as where it has no `tcp_diag`.
pub(crate) fn listeners() -> io::Result<Vec<Listener>> {
    let socket = open()?;
    let mut found = of_family(&socket, AF_INET, 0)?;
    found.extend(of_family(&socket, AF_INET6, 0)?);
    Ok(found)
}

/// Whether there is one on this port. Few questions: this is asked all day.
///
/// # Errors
/// As above.
pub(crate) fn has_listener(port: u16) -> io::Result<bool> {
    let socket = open()?;
    Ok(!of_family(&socket, AF_INET, port)?.is_empty()
        || !of_family(&socket, AF_INET6, port)?.is_empty())
}

fn open() -> io::Result<OwnedFd> {
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
        SockProtocol::NetlinkSockDiag,
    )?;
    Ok(socket)
}

fn of_family(socket: &OwnedFd, family: u8, port: u16) -> io::Result<Vec<Listener>> {
    let kernel = NetlinkAddr::new(0, 0);
    let question = question(family, port);
    sendto(socket.as_raw_fd(), &question, &kernel, MsgFlags::empty())?;
    hear(socket)
}

/// Port 0 is any.
fn question(family: u8, port: u16) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let any = if family == AF_INET6 {
        SocketId::new_v6()
    } else {
        SocketId::new_v4()
    };
    let request = InetRequest {
        family,
        protocol: IPPROTO_TCP,
        extensions: ExtensionFlags::empty(),
        states: StateFlags::LISTEN,
        socket_id: SocketId {
            source_port: port,
            ..any
        },
    };
    let payload = NetlinkPayload::from(SockDiagMessage::InetRequest(request));
    let mut message = NetlinkMessage::new(header, payload);
    message.finalize();
    let mut buffer = vec![0; message.buffer_len()];
    message.serialize(&mut buffer);
    buffer
}

/// Takes the answer, which the kernel has at once.
fn hear(socket: &OwnedFd) -> io::Result<Vec<Listener>> {
    let mut found = Vec::new();
    let mut buffer = vec![0; DATAGRAM];
    loop {
        let length = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        let mut rest = buffer.get(..length).unwrap_or_default();
        while !rest.is_empty() {
            let message = NetlinkMessage::<SockDiagMessage>::deserialize(rest);
            let message = message.map_err(io::Error::other)?;
            // Each begins at a multiple of four bytes.
            let next = usize::try_from(message.header.length).unwrap_or(usize::MAX);
            rest = rest.get(next.next_multiple_of(4)..).unwrap_or_default();
            match message.payload {
                NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(socket)) => {
                    found.push(Listener {
                        uid: socket.header.uid,
                        inode: socket.header.inode.into(),
                    });
                }
                NetlinkPayload::Done(_) => return Ok(found),
                NetlinkPayload::Error(error) => return Err(error.to_io()),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::net::TcpListener;
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn the_kernel_tells_of_a_listener_of_either_family_and_of_no_other() {
        for address in ["127.0.0.1:0", "[::]:0"] {
            let listener = TcpListener::bind(address).unwrap();
            let bound = listener.local_addr().unwrap();
            let path = format!("/proc/self/fd/{}", listener.as_raw_fd());
            let socket = std::fs::metadata(path).unwrap();
            let own = Listener {
                uid: nix::unistd::geteuid().as_raw(),
                inode: socket.ino(),
            };
            assert!(has_listener(bound.port()).unwrap(), "{address}");
            assert!(listeners().unwrap().contains(&own), "{address}");
            drop(listener);
            assert!(!has_listener(bound.port()).unwrap(), "{address}");
            assert!(!listeners().unwrap().contains(&own), "{address}");
        }
    }

    #[test]
    fn an_answer_of_many_datagrams_is_heard_to_its_end() {
        let many = (0..600).map(|_| TcpListener::bind("127.0.0.1:0").unwrap());
        let many: Vec<_> = many.collect();
        let inodes = listeners().unwrap().into_iter().map(|it| it.inode);
        let inodes: BTreeSet<u64> = inodes.collect();
        for listener in &many {
            let path = format!("/proc/self/fd/{}", listener.as_raw_fd());
            let inode = std::fs::metadata(path).unwrap().ino();
            assert!(inodes.contains(&inode));
        }
    }
}
