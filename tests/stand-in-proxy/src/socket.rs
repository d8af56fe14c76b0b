//! Listening, options on sockets, and where a redirected connection was going.

use crate::config::Socket;
use crate::drain;
use nix::sys::socket::{setsockopt, sockopt};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tracing::warn;

/// After a connection that the kernel does not give us, until we ask for the next.
const AGAIN: Duration = Duration::from_millis(50);

/// Binds and listens.
pub(crate) fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = if addr.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(1024)
}

/// The next connection that was redirected to us, with its client and where it was going; `None` when it is time to finish.
pub(crate) async fn accept(
    listener: &TcpListener,
    drain: &drain::Watch,
) -> Option<(TcpStream, SocketAddr, SocketAddr)> {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = drain.signaled() => return None,
        };
        match accepted {
            Ok((stream, client)) => match original_destination(&stream) {
                Ok(dst) => return Some((stream, client, dst)),
                Err(error) => not_accepted(&error),
            },
            Err(error) => {
                not_accepted(&error);
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

fn not_accepted(error: &io::Error) {
    warn!(target: "linkerd_app_core::serve", %error, "Server failed to accept connection");
}

/// Sets what the configuration asks for; a kernel that refuses is no reason to drop the connection.
pub(crate) fn tune(stream: &TcpStream, options: Socket) {
    let mut results = vec![stream.set_nodelay(true)];
    if let Some(idle) = options.keepalive {
        let idle = u32::try_from(idle.as_secs()).unwrap_or(u32::MAX).max(1);
        results.push(setsockopt(stream, sockopt::KeepAlive, &true).map_err(io::Error::from));
        results.push(setsockopt(stream, sockopt::TcpKeepIdle, &idle).map_err(io::Error::from));
    }
    if let Some(timeout) = options.user_timeout {
        let millis = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
        results.push(setsockopt(stream, sockopt::TcpUserTimeout, &millis).map_err(io::Error::from));
    }
    for error in results.into_iter().filter_map(Result::err) {
        tracing::debug!(target: "linkerd_stand_in", %error, "cannot set a socket option");
    }
}

/// Where the client was going before the redirection, out of the kernel's connection tracking.
///
/// Without an entry there it fails, also for connections that nobody redirected.
pub(crate) fn original_destination(stream: &TcpStream) -> io::Result<SocketAddr> {
    let get = nix::sys::socket::getsockopt::<TcpStream, sockopt::OriginalDst>;
    let is_v4 = match stream.peer_addr()?.ip() {
        IpAddr::V4(_) => true,
        IpAddr::V6(ip) => ip.to_ipv4_mapped().is_some(),
    };
    if is_v4 {
        let addr = get(stream, sockopt::OriginalDst)?;
        // The kernel gives both in network order.
        let ip = u32::from_be(addr.sin_addr.s_addr);
        return Ok((std::net::Ipv4Addr::from(ip), u16::from_be(addr.sin_port)).into());
    }
    let addr = nix::sys::socket::getsockopt(stream, sockopt::Ip6tOriginalDst)?;
    Ok((
        std::net::Ipv6Addr::from(addr.sin6_addr.s6_addr),
        u16::from_be(addr.sin6_port),
    )
        .into())
}
