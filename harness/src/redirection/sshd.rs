//! Which ports the SSH server of this host listens on. Needs root, for it looks into other processes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use linkerd_harness_core::redirect::SshdFound;

use super::exec;
use super::proc_net::{Socket, SocketState};
use super::processes::Process;

/// The programs of SSH servers; the third is dropbear where it is one program with its tools. The sessions of OpenSSH 9.8
/// and later run another.
const SERVERS: [&str; 3] = ["sshd", "dropbear", "dropbearmulti"];

/// Where a host without any trace of an SSH server would have one.
pub(super) const USUAL_PORT: u16 = 22;

/// OpenSSH takes 256 at most; what is left for the daemon must be read by it.
const PORTS_MAX: usize = 512;

/// Where the configuration is that `sshd -T` would have read.
const CONFIGURATION: [&str; 2] = ["/etc/ssh/sshd_config", "/etc/ssh/sshd_config.d"];

/// Longest file of it that is read.
const CONFIGURATION_MAX: u64 = 1 << 20;

/// Ports with how each was found; never empty.
pub(super) type Ports = BTreeMap<u16, SshdFound>;

/// Adds to the ports on which SSH servers listen those that systemd holds for one and those that the server is configured
/// for (it may start after us); 22 where there is none at all.
pub(super) async fn with_configured(listening: BTreeSet<u16>) -> Ports {
    let mut ports = Ports::new();
    let configured = match exec::find("sshd") {
        Some(sshd) => exec::run(&sshd, &["-T"], "").await.ok(),
        None => None,
    };
    // It refuses to read a configuration without host keys, say.
    let configured = configured.unwrap_or_else(configuration);
    ports.extend(configured_ports(&configured).map(|port| (port, SshdFound::Configured)));
    if let Some(systemctl) = exec::find("systemctl")
        && let Ok(shown) = exec::run(&systemctl, &SOCKET_UNITS, "").await
    {
        ports.extend(socket_unit_ports(&shown).map(|port| (port, SshdFound::SocketUnit)));
    }
    let listening = listening.into_iter().take(PORTS_MAX);
    ports.extend(listening.map(|port| (port, SshdFound::Listening)));
    if ports.is_empty() {
        ports.insert(USUAL_PORT, SshdFound::Assumed);
    }
    ports
}

/// Their properties, one block a unit.
const SOCKET_UNITS: [&str; 4] = [
    "show",
    "--property=Listen,ActiveState,UnitFileState",
    "ssh.socket",
    "sshd.socket",
];

/// The text of the server's configuration; empty where there is none.
fn configuration() -> String {
    let below = std::fs::read_dir(CONFIGURATION[1]).into_iter().flatten();
    let parts = below.flatten().map(|entry| entry.path());
    let parts = parts.filter(|path| path.extension().is_some_and(|end| end == "conf"));
    let mut text = String::new();
    for path in parts.chain([PathBuf::from(CONFIGURATION[0])]) {
        if let Ok(file) = File::open(path) {
            let mut part = String::new();
            if file
                .take(CONFIGURATION_MAX)
                .read_to_string(&mut part)
                .is_ok()
            {
                text.extend([&part, "\n"]);
            }
        }
    }
    text
}

/// The ports on which SSH servers listen now.
pub(super) fn listening_ports(sockets: &[Socket], processes: &[Process]) -> BTreeSet<u16> {
    listening(sockets, &inodes_of_servers(processes)).collect()
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

/// `Listen=[::]:22 (Stream)`, one a line, of units that systemd listens for, or will at the next boot. It shows the lines
/// of others too.
pub(super) fn socket_unit_ports(shown: &str) -> impl Iterator<Item = u16> + '_ {
    let counts = |unit: &&str| {
        unit.lines()
            .any(|line| line == "ActiveState=active" || line.starts_with("UnitFileState=enabled"))
    };
    let units = shown.split("\n\n").filter(counts);
    units.flat_map(str::lines).filter_map(|line| {
        let listen = line.strip_prefix("Listen=")?.strip_suffix(" (Stream)")?;
        let port = listen.rsplit_once(':').map_or(listen, |(_, port)| port);
        port.parse().ok().filter(|port| *port != 0)
    })
}

/// `port 22`, `listenaddress [::]:22`, in the words of `sshd -T` or of `sshd_config(5)`.
pub(super) fn configured_ports(configuration: &str) -> impl Iterator<Item = u16> + '_ {
    configuration.lines().filter_map(|line| {
        let mut words = line.split(|c: char| c.is_ascii_whitespace() || c == '=' || c == '"');
        let mut words = words.by_ref().filter(|word| !word.is_empty());
        let (keyword, value) = (words.next()?, words.next()?);
        let port = if keyword.eq_ignore_ascii_case("port") {
            value
        } else if keyword.eq_ignore_ascii_case("listenaddress") {
            let (address, port) = value.rsplit_once(':')?;
            // Without brackets, more than one colon is an address without a port.
            let is_bare = address.contains(':') && !address.ends_with(']');
            (!is_bare).then_some(port)?
        } else {
            return None;
        };
        port.parse().ok().filter(|port| *port != 0)
    })
}

/// The sockets that SSH servers hold. Root's only: whoever calls his program `sshd` gets no port out of the mesh.
fn inodes_of_servers(processes: &[Process]) -> BTreeSet<u64> {
    processes
        .iter()
        .filter(|process| process.is_roots() && process.runs(&SERVERS))
        .filter(|process| !is_session(&String::from_utf8_lossy(&process.file("cmdline"))))
        .flat_map(Process::sockets)
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
        let listen = "Listen=0.0.0.0:22 (Stream)\nListen=[::]:2222 (Stream)\nListen=/run/ssh (Stream)\nListen=5 (Datagram)\n";
        for (states, counts) in [
            ("ActiveState=active\nUnitFileState=disabled\n", true),
            ("ActiveState=inactive\nUnitFileState=enabled\n", true),
            // As Debian has it, where the service listens by itself.
            ("ActiveState=inactive\nUnitFileState=disabled\n", false),
        ] {
            let other = "ActiveState=active\n";
            let shown = format!("{listen}{states}\n{other}");
            let expected: &[u16] = if counts { &[22, 2222] } else { &[] };
            assert_eq!(socket_unit_ports(&shown).collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn what_sshd_prints_is_understood() {
        let configuration = "port 22\nport 2200\naddressfamily any\nlistenaddress 0.0.0.0:22\n";
        assert_eq!(
            configured_ports(configuration).collect::<Vec<_>>(),
            [22, 2200, 22]
        );
        let configuration = "#Port 21\n  Port = 23\nListenAddress [::1]:24\nListenAddress ::1\nListenAddress a.example:25\nListenAddress 192.0.2.1\nPort 0\nPort\n";
        assert_eq!(
            configured_ports(configuration).collect::<Vec<_>>(),
            [23, 24, 25]
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
        let none = exec::find("sshd").is_none()
            && exec::find("systemctl").is_none()
            && configuration().is_empty();
        let found = with_configured(BTreeSet::new()).await;
        if none {
            assert_eq!(found, Ports::from([(22, SshdFound::Assumed)]));
        } else {
            assert!(!found.is_empty());
        }
    }
}
