//! The kernel's lists of sockets, `/proc/net/tcp`, `/proc/net/tcp6` and `/proc/net/unix` (`proc_pid_net(5)`). Anybody may
//! read them.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use crate::listeners::{self, Listener};

const TCP: [&str; 2] = ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"];
const UNIX: &str = "/proc/thread-self/net/unix";

/// `__SO_ACCEPTCON` among the flags of a Unix socket: it listens.
const LISTENS: u32 = 1 << 16;

/// One socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Socket {
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    pub(crate) state: SocketState,
    /// Who made it.
    pub(crate) uid: u32,
    /// Names the socket in `/proc/<pid>/fd`.
    pub(crate) inode: u64,
}

/// The states that we ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SocketState {
    Established,
    Listening,
    Other,
}

/// All TCP sockets of both families. A family that the kernel does not have has none.
pub(crate) fn sockets() -> io::Result<Vec<Socket>> {
    let mut sockets = Vec::new();
    for file in TCP {
        match std::fs::read_to_string(file) {
            Ok(text) => sockets.extend(parse(&text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(sockets)
}

/// The listening ones only.
pub(crate) fn listeners() -> Vec<Listener> {
    listeners::listeners().unwrap_or_else(|_not_told| listed())
}

/// They come first, so the list of a busy host is not read to its end.
fn listed() -> Vec<Listener> {
    let files = TCP.iter().filter_map(|file| File::open(file).ok());
    let listening = |file| {
        let lines = BufReader::new(file).lines().map_while(Result::ok).skip(1);
        lines
            .map_while(|line| socket(&line).filter(|s| s.state == SocketState::Listening))
            .map(|Socket { uid, inode, .. }| Listener { uid, inode })
            .collect::<Vec<_>>()
    };
    files.flat_map(listening).collect()
}

/// The Unix socket that somebody listens with at this path.
pub(crate) fn unix_listener(path: &Path) -> Option<u64> {
    let path = path.to_str()?;
    let text = std::fs::read(UNIX).ok()?;
    unix_listener_in(&String::from_utf8_lossy(&text), path)
}

fn unix_listener_in(text: &str, path: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        // Num: RefCount Protocol Flags Type St Inode Path
        let (head, named) = line.split_once('/')?;
        let mut fields = head.split_ascii_whitespace().skip(3);
        let flags = u32::from_str_radix(fields.next()?, 16).ok()?;
        let inode = fields.nth(2)?.parse().ok()?;
        let is_path = !head.ends_with('@') && path.strip_prefix('/') == Some(named);
        (is_path && flags & LISTENS != 0).then_some(inode)
    })
}

/// The sockets in the text of either file; lines that are none (the heading) are left out.
pub(crate) fn parse(text: &str) -> impl Iterator<Item = Socket> {
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
        uid: fields.nth(3)?.parse().ok()?,
        inode: fields.nth(1)?.parse().ok()?,
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
            \x20  1: 0000000000000000FFFF00000100000A:0016 0000000000000000FFFF0000090200C0:C001 01 00000000:00000000 02:000A 00000000  998 0 4343 1 0\n\
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
                    uid: 0,
                    inode: 4242
                },
                Socket {
                    local: addr("10.0.0.1:22"),
                    remote: addr("192.0.2.9:49153"),
                    state: SocketState::Established,
                    uid: 998,
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
        let own = found
            .iter()
            .find(|socket| socket.local == local && socket.state == SocketState::Listening);
        let &Socket { uid, inode, .. } = own.unwrap();
        // Root reads the list where the daemon asks, and they compare what they found.
        let own = Listener { uid, inode };
        assert!(listed().contains(&own));
        assert!(listeners::listeners().unwrap().contains(&own));
    }

    #[test]
    fn only_who_listens_at_a_path_is_its_listener() {
        let text = "Num       RefCount Protocol Flags    Type St Inode Path\n\
            ffff8: 00000003 00000000 00000000 0001 03 41 /run/api.sock\n\
            ffff8: 00000002 00000000 00010000 0001 01 43 @/run/api.sock\n\
            ffff8: 00000002 00000000 00010000 0001 01 42 /run/api.sock\n\
            ffff8: 00000002 00000000 00010000 0001 01 44\n";
        assert_eq!(unix_listener_in(text, "/run/api.sock"), Some(42));
        assert_eq!(unix_listener_in(text, "/run/other.sock"), None);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a b.sock");
        assert_eq!(unix_listener(&path), None);
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert!(unix_listener(&path).is_some());
    }
}
