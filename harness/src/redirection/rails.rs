//! The guard rails that only this host can tell: its SSH ports, as root left them, and the live SSH sessions.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use linkerd_harness_core::redirect::{GuardRail, SshdFound};

use super::proc_net::{self, Socket, SocketState};
use super::run_file;
use super::sshd::Ports;

/// One port a line, with how it was found: `22 listening`.
const FILE: &str = "sshd-ports";

/// The guard rails of this host, to be given to the plan with those of the control plane and of SPIRE. Needs no root.
///
/// Where [`prepare()`](super::prepare()) left nothing, port 22 is assumed.
pub fn guard_rails(run_dir: &Path) -> Vec<GuardRail> {
    let text = std::fs::read_to_string(run_dir.join(FILE)).unwrap_or_default();
    let mut ports: Ports = parse(&text);
    if ports.is_empty() {
        ports.insert(22, SshdFound::Assumed);
    }
    let sockets = proc_net::sockets().unwrap_or_default();
    let sessions = sessions(&sockets, &ports);
    ports
        .into_iter()
        .map(|(port, found)| GuardRail::Sshd { port, found })
        .chain(sessions)
        .collect()
}

/// Leaves the ports for [`guard_rails`].
pub(super) fn leave(run_dir: &Path, ports: &Ports) -> io::Result<()> {
    let mut text = String::new();
    for (port, found) in ports {
        text.extend([port.to_string().as_str(), " ", word(*found), "\n"]);
    }
    run_file::write(run_dir, FILE, &text)
}

fn parse(text: &str) -> Ports {
    let line = |line: &str| {
        let (port, found) = line.split_once(' ')?;
        let all = [
            SshdFound::Listening,
            SshdFound::SocketUnit,
            SshdFound::Configured,
            SshdFound::Assumed,
        ];
        let found = all.into_iter().find(|known| word(*known) == found)?;
        Some((port.parse().ok().filter(|port| *port != 0)?, found))
    };
    text.lines().filter_map(line).collect()
}

fn word(found: SshdFound) -> &'static str {
    match found {
        SshdFound::Listening => "listening",
        SshdFound::SocketUnit => "socket-unit",
        SshdFound::Configured => "configured",
        SshdFound::Assumed => "assumed",
    }
}

fn sessions(sockets: &[Socket], ports: &Ports) -> BTreeSet<GuardRail> {
    let live = |socket: &&Socket| {
        socket.state == SocketState::Established
            && ports.contains_key(&socket.local.port())
            && !socket.remote.ip().is_loopback()
    };
    let session = |socket: &Socket| GuardRail::SshSession {
        peer: socket.remote.ip(),
        port: socket.local.port(),
    };
    sockets.iter().filter(live).map(session).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_left_by_root_are_read_by_the_daemon() {
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path().join("made-if-missing");
        let ports = Ports::from([(22, SshdFound::Listening), (2222, SshdFound::SocketUnit)]);
        leave(&run, &ports).unwrap();
        let rails = guard_rails(&run);
        for (port, found) in ports {
            assert!(
                rails.contains(&GuardRail::Sshd { port, found }),
                "{rails:?}"
            );
        }
    }

    #[test]
    fn without_them_and_with_nonsense_port_22_is_safe() {
        let dir = tempfile::tempdir().unwrap();
        let wanted = GuardRail::Sshd {
            port: 22,
            found: SshdFound::Assumed,
        };
        assert!(guard_rails(dir.path()).contains(&wanted));
        std::fs::write(
            dir.path().join(FILE),
            "0 listening\nx\n99999 listening\n22 somehow\n",
        )
        .unwrap();
        assert!(guard_rails(dir.path()).contains(&wanted));
    }

    #[test]
    fn live_sessions_are_those_of_ssh_ports() {
        let line = |port: &str, peer: &str| {
            format!(" 0: 00000000:{port} {peer}:C000 01 0:0 0:0 0 0 0 1 1\n")
        };
        let text = line("0016", "00000001") + &line("0050", "00000002") + &line("0016", "00000001");
        let sockets: Vec<Socket> = proc_net::parse(&text).collect();
        assert_eq!(
            sessions(&sockets, &Ports::from([(22, SshdFound::Listening)])).len(),
            1
        );
    }
}
