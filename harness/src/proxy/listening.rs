//! Whether a TCP port of this host takes connections.
//!
//! Asked of the kernel, because a connection to the proxy's inbound port is an event for it: without
//! a conntrack entry it warns of each one, with one it takes it for a peer that speaks no TLS. The kernel takes
//! connections for a listening socket by itself, so it says the same as a connection would.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::listeners::has_listener;

/// `self`, because `/proc/net` is hidden by systemd's `ProcSubset=pid`.
const TABLES: [&str; 2] = ["/proc/self/net/tcp", "/proc/self/net/tcp6"];

/// `TCP_LISTEN` as the table writes it.
const LISTEN: &str = "0A";

/// Whether something listens on the port, on any address. Where netlink does not tell, the socket table does.
pub(super) async fn is_listening(port: u16, timeout: Duration) -> bool {
    match has_listener(port) {
        Ok(found) => return found,
        Err(error) => tracing::debug!(%error, "the kernel does not tell of listeners"),
    }
    let mut readable = false;
    for table in TABLES {
        match File::open(table).and_then(|file| in_table(BufReader::new(file), port)) {
            Ok(true) => return true,
            Ok(false) => readable = true,
            Err(error) => tracing::debug!(%error, table, "cannot read the socket table"),
        }
    }
    !readable && connects(port, timeout).await
}

/// Second best, where `/proc` is hidden.
async fn connects(port: u16, timeout: Duration) -> bool {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let connected = tokio::time::timeout(timeout, tokio::net::TcpStream::connect(address)).await;
    matches!(connected, Ok(Ok(_)))
}

/// Listening sockets come first, so the table of a busy host is not read to its end.
fn in_table(table: impl BufRead, port: u16) -> io::Result<bool> {
    for line in table.lines().skip(1) {
        let line = line?;
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (local, state) = (fields.next(), fields.nth(1));
        if state != Some(LISTEN) {
            return Ok(false);
        }
        let found = local
            .and_then(|local| local.rsplit_once(':'))
            .and_then(|(_, port)| u16::from_str_radix(port, 16).ok());
        if found == Some(port) {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:105F 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1
   1: 00000000:102F 00000000:0000 0A 00000000:00000000 00:00000000 00000000   998        0 2 1
   2: 0100007F:1F90 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 3 1
";

    #[test]
    fn only_listening_sockets_count() {
        let listens = |port| in_table(TABLE.as_bytes(), port).unwrap();
        assert!(listens(4191) && listens(4143));
        assert!(!listens(8080), "a connection is no listener");
        assert!(!in_table("".as_bytes(), 4143).unwrap());
    }

    #[tokio::test]
    async fn a_port_listens_until_its_socket_is_closed() {
        let timeout = Duration::from_secs(1);
        for address in ["127.0.0.1:0", "[::]:0"] {
            let listener = std::net::TcpListener::bind(address).unwrap();
            let port = listener.local_addr().unwrap().port();
            assert!(
                is_listening(port, timeout).await && connects(port, timeout).await,
                "{address}"
            );
            drop(listener);
            assert!(
                !is_listening(port, timeout).await && !connects(port, timeout).await,
                "{address}"
            );
        }
    }
}
