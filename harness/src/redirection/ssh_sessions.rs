//! The SSH sessions that are open now, of whatever server: found by the variable that each gives its shells.

use std::collections::{BTreeSet, HashSet};
use std::net::SocketAddr;

use linkerd_harness_core::host::ssh_connection::SshConnection;
use linkerd_harness_core::redirect::GuardRail;

use super::proc_net::{Socket, SocketState};
use super::processes::Process;

/// More operators than this are not at one host.
const SESSIONS_MAX: usize = 256;

/// Finds them, as root. The variable says which two ends; the session counts while the kernel has that connection open in
/// a process that root started, as SSH servers hold it. Without this a user could name any peer of this host's workloads,
/// and take it out of the mesh.
///
/// A session of a server in a network namespace of its own is not seen: its packets only pass through this host.
pub(super) fn find(sockets: &[Socket], processes: &[Process]) -> BTreeSet<GuardRail> {
    let of_root: BTreeSet<u64> = processes
        .iter()
        .filter(|process| process.is_roots())
        .flat_map(Process::sockets)
        .collect();
    let open = open(sockets, &of_root);
    let sessions = processes
        .iter()
        .filter_map(|process| SshConnection::of_environ(&process.file("environ")));
    let rails: BTreeSet<GuardRail> = sessions
        .filter_map(|session| rail(session, &open))
        .collect();
    rails.into_iter().take(SESSIONS_MAX).collect()
}

/// The ends, ours and theirs, of the connections that root has open.
fn open(sockets: &[Socket], of_root: &BTreeSet<u64>) -> HashSet<(SocketAddr, SocketAddr)> {
    sockets
        .iter()
        .filter(|socket| {
            socket.state == SocketState::Established && of_root.contains(&socket.inode)
        })
        .map(|socket| (socket.local, socket.remote))
        .collect()
}

fn rail(session: SshConnection, open: &HashSet<(SocketAddr, SocketAddr)>) -> Option<GuardRail> {
    let is_open = open.contains(&(session.server, session.client));
    is_open.then_some(GuardRail::SshSession {
        peer: session.client.ip(),
        port: session.server.port(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_counts_while_root_holds_it_open() {
        let session = SshConnection {
            client: "192.0.2.9:50000".parse().unwrap(),
            server: "10.0.0.1:2022".parse().unwrap(),
        };
        let socket = Socket {
            local: session.server,
            remote: session.client,
            state: SocketState::Established,
            uid: 0,
            inode: 7,
        };
        let found = |socket: Socket, of_root: u64| {
            rail(session, &open(&[socket], &BTreeSet::from([of_root]))).is_some()
        };
        assert!(found(socket, 7));
        assert!(!found(socket, 8), "of another user");
        let closing = Socket {
            state: SocketState::Other,
            ..socket
        };
        assert!(!found(closing, 7));
        let other = Socket {
            remote: "192.0.2.10:50000".parse().unwrap(),
            ..socket
        };
        assert!(!found(other, 7));
    }
}
