//! The kernel's list of TCP sockets, `/proc/net/tcp` and `/proc/net/tcp6` (`proc_pid_net(5)`). Anybody may read it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// One socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Socket {
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    pub(super) state: SocketState,
    /// Names the socket in `/proc/<pid>/fd`.
    pub(super) inode: u64,
}

/// The states that we ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SocketState {
    Established,
    Listening,
    Other,
}

/// All TCP sockets of both families. A family that the kernel does not have has none.
pub(super) fn sockets() -> io::Result<Vec<Socket>> {
    let mut sockets = Vec::new();
    for file in ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"] {
        match std::fs::read_to_string(file) {
            Ok(text) => sockets.extend(parse(&text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(sockets)
}

/// The sockets in the text of either file; lines that are none (the heading) are left out.
pub(super) fn parse(text: &str) -> impl Iterator<Item = Socket> {
    text.lines().filter_map(socket)
}

fn socket(line: &str) -> Option<Socket> {
    // sl local rem st tx:rx tr:when retrnsmt uid timeout inode …
    let mut fields = line.split_ascii_whitespace().skip(1);
    let (local, remote) = (address(fields.next()?)?, address(fields.next()?)?);
    let state = match fields.next()? {
        "01" => SocketState::Established,
        "0A" => SocketState::Listening,
        _ => SocketState::Other,
    };
    Some(Socket {
        local,
        remote,
        state,
        inode: fields.nth(5)?.parse().ok()?,
    })
}

/// `0100007F:0016`, or with 32 digits: words of 32 bits, each printed as this machine reads it, which turns the bytes
/// around on most. An IPv4 address inside an IPv6 one is taken out.
fn address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let word = |index: usize| {
        u32::from_str_radix(address.get(index * 8..index * 8 + 8)?, 16)
            .ok()
            .map(u32::to_ne_bytes)
    };
    let address = match address.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?)),
        32 => {
            let words = [word(0)?, word(1)?, word(2)?, word(3)?];
            let bytes: [u8; 16] = words.concat().try_into().ok()?;
            IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(
        address,
        u16::from_str_radix(port, 16).ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_endian = "little")]
    #[test]
    fn both_families_are_read() {
        let text = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            \x20  0: 0100007F:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4242 1 0 100 0 0 10 0\n\
            \x20  1: 0000000000000000FFFF00000100000A:0016 0000000000000000FFFF0000090200C0:C001 01 00000000:00000000 02:000A 00000000  0 0 4343 1 0\n\
            garbage\n";
        let found: Vec<Socket> = parse(text).collect();
        let addr = |text: &str| text.parse::<SocketAddr>().unwrap();
        assert_eq!(
            found,
            [
                Socket {
                    local: addr("127.0.0.1:22"),
                    remote: addr("0.0.0.0:0"),
                    state: SocketState::Listening,
                    inode: 4242
                },
                Socket {
                    local: addr("10.0.0.1:22"),
                    remote: addr("192.0.2.9:49153"),
                    state: SocketState::Established,
                    inode: 4343
                },
            ]
        );
    }

    #[test]
    fn a_socket_of_our_own_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let local = listener.local_addr().unwrap();
        let found = sockets().unwrap();
        assert!(
            found
                .iter()
                .any(|socket| socket.local == local && socket.state == SocketState::Listening),
            "{found:?}"
        );
    }
}
