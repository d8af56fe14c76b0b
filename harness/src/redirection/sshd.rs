//! Which ports the SSH server of this host listens on. Needs root, for it looks into other processes.

use std::collections::{BTreeMap, BTreeSet};

use linkerd_harness_core::redirect::SshdFound;

use super::exec;
use super::proc_net::{Socket, SocketState};
use super::processes::Process;

/// What SSH servers are called in `/proc/<pid>/comm`. The sessions of OpenSSH 9.8 and later have names of their own.
const SERVERS: [&str; 2] = ["sshd", "dropbear"];

/// Where a host without any trace of an SSH server would have one.
pub(super) const USUAL_PORT: u16 = 22;

/// Ports with how each was found; never empty.
pub(super) type Ports = BTreeMap<u16, SshdFound>;

/// Finds them: sockets of SSH servers, sockets that systemd holds for one, else what the server is configured for (it may
/// start after us), else 22.
pub(super) async fn find(sockets: &[Socket], processes: &[Process]) -> Ports {
    let mut ports = Ports::new();
    // Asked for always: the unit may be set up but not started yet.
    if let Some(systemctl) = exec::find("systemctl")
        && let Ok(shown) = exec::run(
            &systemctl,
            &["show", "--property=Listen", "ssh.socket", "sshd.socket"],
            "",
        )
        .await
    {
        ports.extend(socket_unit_ports(&shown).map(|port| (port, SshdFound::SocketUnit)));
    }
    ports.extend(
        listening(sockets, &inodes_of_servers(processes)).map(|port| (port, SshdFound::Listening)),
    );
    if ports.is_empty()
        && let Some(sshd) = exec::find("sshd")
        && let Ok(configuration) = exec::run(&sshd, &["-T"], "").await
    {
        ports.extend(configured_ports(&configuration).map(|port| (port, SshdFound::Configured)));
    }
    if ports.is_empty() {
        ports.insert(USUAL_PORT, SshdFound::Assumed);
    }
    ports
}

fn listening<'a>(
    sockets: &'a [Socket],
    inodes: &'a BTreeSet<u64>,
) -> impl Iterator<Item = u16> + 'a {
    let theirs =
        |socket: &&Socket| socket.state == SocketState::Listening && inodes.contains(&socket.inode);
    sockets
        .iter()
        .filter(theirs)
        .map(|socket| socket.local.port())
}

/// `Listen=[::]:22 (Stream)`, one a line; a unit that does not exist has none.
pub(super) fn socket_unit_ports(shown: &str) -> impl Iterator<Item = u16> + '_ {
    shown.lines().filter_map(|line| {
        let listen = line.strip_prefix("Listen=")?.strip_suffix(" (Stream)")?;
        let port = listen.rsplit_once(':').map_or(listen, |(_, port)| port);
        port.parse().ok().filter(|port| *port != 0)
    })
}

/// `port 22`, in the words of `sshd -T`.
pub(super) fn configured_ports(configuration: &str) -> impl Iterator<Item = u16> + '_ {
    let ports = configuration
        .lines()
        .filter_map(|line| line.strip_prefix("port "));
    let port = |port: &str| port.trim().parse().ok().filter(|port| *port != 0);
    ports.filter_map(port)
}

/// The sockets that SSH servers hold. Root's only: whoever calls his program `sshd` gets no port out of the mesh.
fn inodes_of_servers(processes: &[Process]) -> BTreeSet<u64> {
    processes
        .iter()
        .filter(|process| process.uid == 0 && SERVERS.contains(&process.name.as_str()))
        .filter(|process| !is_session(&String::from_utf8_lossy(&process.file("cmdline"))))
        .flat_map(|process| process.sockets.iter().copied())
        .collect()
}

/// Before OpenSSH 9.8 a session is called as the server is. It listens for `ssh -R`, on ports that are not the server's.
fn is_session(title: &str) -> bool {
    title.starts_with("sshd: ") && !title.contains("[listener]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_systemctl_shows_is_understood() {
        let shown = "Listen=0.0.0.0:22 (Stream)\nListen=[::]:2222 (Stream)\nListen=/run/ssh (Stream)\n\nListen=5 (Datagram)\n";
        assert_eq!(socket_unit_ports(shown).collect::<Vec<_>>(), [22, 2222]);
    }

    #[test]
    fn what_sshd_prints_is_understood() {
        let configuration = "port 22\nport 2200\naddressfamily any\nlistenaddress 0.0.0.0:22\n";
        assert_eq!(
            configured_ports(configuration).collect::<Vec<_>>(),
            [22, 2200]
        );
    }

    #[test]
    fn only_listening_sockets_of_the_server_count() {
        let line = |port: &str, state: &str, inode: u32| {
            format!(" 0: 00000000:{port} 00000000:0000 {state} 0:0 0:0 0 0 0 {inode} 1\n")
        };
        let text = line("0016", "0A", 7) + &line("0050", "0A", 8) + &line("1F90", "01", 7);
        let sockets: Vec<Socket> = super::super::proc_net::parse(&text).collect();
        assert_eq!(
            listening(&sockets, &BTreeSet::from([7])).collect::<Vec<_>>(),
            [22]
        );
    }

    #[test]
    fn a_session_is_told_from_the_server() {
        assert!(!is_session("/usr/sbin/sshd\0-D\0"));
        assert!(!is_session(
            "sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups"
        ));
        assert!(is_session("sshd: root@pts/0"));
        assert!(is_session("sshd: operator [priv]"));
    }

    #[tokio::test]
    async fn a_host_without_a_trace_of_ssh_gets_the_usual_port() {
        if exec::find("sshd").is_none() && exec::find("systemctl").is_none() {
            assert_eq!(
                find(&[], &[]).await,
                Ports::from([(22, SshdFound::Assumed)])
            );
        } else {
            assert!(!find(&[], &[]).await.is_empty());
        }
    }
}
