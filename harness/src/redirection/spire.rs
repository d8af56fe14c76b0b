//! The SPIRE server of this host, which the agent must reach before there is an identity: found at the agent.

use std::collections::BTreeSet;
use std::io::Read;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use linkerd_harness_core::host::spire_agent::CommandLine;
use linkerd_harness_core::names::HostPort;

use super::exec;
use super::proc_net::{self, Socket, SocketState};
use super::processes::Process;

/// The agent in `/proc/<pid>/comm`.
const AGENT: &str = "spire-agent";

/// More than this is no configuration.
const CONFIG_MAX: u64 = 1 << 20;

/// What the agents of this host tell.
#[derive(Debug, Default)]
pub(super) struct Spire {
    /// The server that one is configured for.
    pub(super) server: Option<HostPort>,
    /// Who they are connected with, beyond this host.
    pub(super) peers: BTreeSet<SocketAddr>,
}

/// Finds the agent, as root: the process that listens on the Workload API's socket. Where none does, root's processes of
/// its name; not others', who could have any address taken out of the mesh. An agent has no socket before it has reached
/// its server, which a closed host does not let it, and may not even run: then what systemd would start counts.
pub(super) async fn find(api: &Path, sockets: &[Socket], processes: &[Process]) -> Spire {
    let listener = proc_net::unix_listener(api);
    let holds = |process: &&Process| listener.is_some_and(|inode| process.sockets.contains(&inode));
    let mut agents: Vec<&Process> = processes.iter().filter(holds).collect();
    if agents.is_empty() {
        let named = |process: &&Process| {
            process.uid == 0 && process.name == AGENT && process.shares_our_network()
        };
        agents = processes.iter().filter(named).collect();
    }
    let mut found = Spire::default();
    for agent in agents {
        let command_line = CommandLine::parse(&agent.file("cmdline"));
        let config = read(&agent.path(command_line.config()));
        found.server = found.server.or_else(|| command_line.server(&config));
        found.peers.extend(peers(sockets, &agent.sockets));
    }
    if found.server.is_none() {
        found.server = of_unit().await;
    }
    found
}

/// The server of the unit `spire-agent.service`, whether it runs or not.
async fn of_unit() -> Option<HostPort> {
    let properties = ["--property=ExecStart", "--property=WorkingDirectory"];
    let args = ["show", properties[0], properties[1], "spire-agent.service"];
    let shown = exec::run(&exec::find("systemctl")?, &args, "").await.ok()?;
    let (command_line, directory) = unit(&shown)?;
    command_line.server(&read(&directory.join(command_line.config())))
}

/// `ExecStart={ path=/bin/a ; argv[]=/bin/a run -config b ; ignore_errors=no ; … }`. A word with a space in it is two.
fn unit(shown: &str) -> Option<(CommandLine, PathBuf)> {
    let value = |key| shown.lines().find_map(|line: &str| line.strip_prefix(key));
    let (_, arguments) = value("ExecStart=")?.split_once("argv[]=")?;
    let (arguments, _) = arguments.split_once(" ;")?;
    let words: Vec<&str> = arguments.split(' ').collect();
    // `!` before a directory that may be missing.
    let directory = value("WorkingDirectory=").unwrap_or_default();
    let directory = Path::new("/").join(directory.trim_start_matches('!'));
    Some((CommandLine::parse(words.join("\0").as_bytes()), directory))
}

fn peers<'a>(sockets: &'a [Socket], held: &'a BTreeSet<u64>) -> impl Iterator<Item = SocketAddr> {
    let listening: BTreeSet<u16> = sockets
        .iter()
        .filter(|socket| socket.state == SocketState::Listening)
        .map(|socket| socket.local.port())
        .collect();
    // Those that came to it, to look at its metrics say, are nobody's server.
    let outward = move |socket: &&Socket| {
        socket.state == SocketState::Established
            && held.contains(&socket.inode)
            && !socket.remote.ip().is_loopback()
            && !listening.contains(&socket.local.port())
    };
    sockets.iter().filter(outward).map(|socket| socket.remote)
}

/// The text of a file that another process named: only a real file, without waiting for it, and no more than is sane.
fn read(path: &Path) -> String {
    let opened = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(nix::fcntl::OFlag::O_NONBLOCK.bits())
        .open(path);
    let mut text = String::new();
    if let Ok(file) = opened
        && file.metadata().is_ok_and(|metadata| metadata.is_file())
        && file.take(CONFIG_MAX).read_to_string(&mut text).is_err()
    {
        text.clear();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_is_whom_the_agent_went_to() {
        let socket = |local: &str, remote: &str, state, inode| Socket {
            local: local.parse().unwrap(),
            remote: remote.parse().unwrap(),
            state,
            uid: 0,
            inode,
        };
        let sockets = [
            socket("10.0.0.1:9988", "0.0.0.0:0", SocketState::Listening, 1),
            socket(
                "10.0.0.1:9988",
                "10.0.0.7:5000",
                SocketState::Established,
                2,
            ),
            socket(
                "10.0.0.1:5001",
                "10.0.0.8:8081",
                SocketState::Established,
                3,
            ),
            socket(
                "127.0.0.1:5002",
                "127.0.0.1:80",
                SocketState::Established,
                4,
            ),
            socket("10.0.0.1:5003", "10.0.0.9:80", SocketState::Established, 5),
            socket("10.0.0.1:5004", "10.0.0.8:8082", SocketState::Other, 6),
        ];
        let held = BTreeSet::from([1, 2, 3, 4, 6]);
        let found: Vec<SocketAddr> = peers(&sockets, &held).collect();
        assert_eq!(found, ["10.0.0.8:8081".parse().unwrap()]);
    }

    #[test]
    fn an_agent_that_does_not_run_is_known_by_its_unit() {
        let shown = "ExecStart={ path=/opt/spire/bin/spire-agent ; argv[]=/opt/spire/bin/spire-agent run -config conf/a.conf ; ignore_errors=no ; start_time=[n/a] ; pid=0 }\nWorkingDirectory=/opt/spire\n";
        let (command_line, directory) = unit(shown).unwrap();
        assert_eq!(
            directory.join(command_line.config()),
            Path::new("/opt/spire/conf/a.conf")
        );
        assert_eq!(unit("ExecStart=\nWorkingDirectory=\n"), None);
    }

    #[test]
    fn what_is_no_file_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(read(&pipe), "");
        assert_eq!(read(dir.path()), "");
        assert_eq!(read(&dir.path().join("missing")), "");
        let file = dir.path().join("file");
        std::fs::write(&file, "server_address").unwrap();
        assert_eq!(read(&file), "server_address");
    }
}
