//! One connection, and everything that the kernel shows of it.

use std::io;
use std::net::{IpAddr, Shutdown, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use linkerd_harness_core::redirect::proof::{Answer, Seen, Tracked};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::conntrack::{Conntrack, Pair};
use crate::redirection::proc_net::{self, SocketState};

/// For the handshake, which stays on this host where it is redirected: long enough for one more SYN.
const PATIENCE: Duration = Duration::from_secs(2);

/// The other end of a complete handshake may come into being a moment after our own.
const OTHER_END: Duration = Duration::from_millis(300);

/// For the end of a connection to be heard of: long enough for one more FIN.
const FAREWELL: Duration = Duration::from_secs(1);

/// The address with which this host talks to another; an error where there is no route. Sends nothing.
pub(super) fn source_for(to: IpAddr) -> io::Result<IpAddr> {
    let any = match to {
        IpAddr::V4(_) => SocketAddr::new(std::net::Ipv4Addr::UNSPECIFIED.into(), 0),
        IpAddr::V6(_) => SocketAddr::new(std::net::Ipv6Addr::UNSPECIFIED.into(), 0),
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect((to, 9))?;
    Ok(socket.local_addr()?.ip())
}

/// A socket in the network namespace of this thread, where it stays whoever uses it.
pub(super) fn socket(of: IpAddr) -> io::Result<Socket> {
    Socket::new(
        Domain::for_address(SocketAddr::new(of, 0)),
        Type::STREAM,
        Some(Protocol::TCP),
    )
}

/// Dials, looks, and closes without a byte. This thread is in the network namespace whose redirection is tried; the socket
/// may be in another.
pub(super) fn dial(socket: &Socket, from: IpAddr, to: SocketAddr) -> io::Result<Seen> {
    // Known beforehand: a connection that fails forgets where it came from.
    socket.bind(&SockAddr::from(SocketAddr::new(from, 0)))?;
    let source = socket
        .local_addr()?
        .as_socket()
        .ok_or_else(|| io::Error::other("the socket has no address"))?;
    let conntrack = Conntrack::listen();
    let answer = match socket.connect_timeout(&SockAddr::from(to), PATIENCE) {
        Ok(()) => Answer::Accepted,
        Err(error) => match error.kind() {
            io::ErrorKind::TimedOut => Answer::Silent(PATIENCE.as_secs()),
            io::ErrorKind::ConnectionRefused => Answer::Refused,
            _ => Answer::Other(error.to_string()),
        },
    };
    let accepted = if answer == Answer::Accepted {
        other_end(source)?
    } else {
        None
    };
    let tracked = match &conntrack {
        Ok(conntrack) => conntrack.find(Pair {
            source,
            destination: to,
        }),
        Err(error) => Tracked::Unknown(error.to_string()),
    };
    let listening = match tracked {
        Tracked::Entry { answers, .. } => listens(answers)?,
        _ => false,
    };
    if accepted.is_some() {
        hang_up(socket, source)?;
    }
    Ok(Seen {
        dialled: to,
        answer,
        tracked,
        accepted,
        listening,
    })
}

/// Where the socket is whose peer is `source`.
fn other_end(source: SocketAddr) -> io::Result<Option<SocketAddr>> {
    let deadline = Instant::now() + OTHER_END;
    loop {
        let mut sockets = proc_net::sockets()?.into_iter();
        if let Some(found) = sockets.find(|socket| socket.remote == source) {
            return Ok(Some(found.local));
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Ends the connection from `source`, and waits until the kernel's other end of it knows. The link that it came over goes
/// away after this, with all that is under way on it, and a proxy that stops waits for connections that seem to be open.
fn hang_up(socket: &Socket, source: SocketAddr) -> io::Result<()> {
    let deadline = Instant::now() + FAREWELL;
    // Fails where the other end was faster.
    let _ended = socket.shutdown(Shutdown::Both);
    let is_open = |other: &proc_net::Socket| {
        other.remote == source && other.state == SocketState::Established
    };
    while Instant::now() < deadline && proc_net::sockets()?.iter().any(is_open) {
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

fn listens(at: SocketAddr) -> io::Result<bool> {
    let takes =
        |own: IpAddr| own == at.ip() || own.is_unspecified() && (own.is_ipv6() || at.is_ipv4());
    Ok(proc_net::sockets()?.iter().any(|socket| {
        socket.state == SocketState::Listening
            && socket.local.port() == at.port()
            && takes(socket.local.ip())
    }))
}
