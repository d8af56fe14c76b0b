//! The SPIRE server of this host, which the agent must reach before there is an identity: found at the agent.

use std::collections::BTreeSet;
use std::io::Read;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use linkerd_harness_core::host::spire_agent::CommandLine;
use linkerd_harness_core::names::HostPort;
use nix::fcntl::OFlag;
use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;
use nix::unistd::User;
use socket2::{Domain, SockAddr, Type};

use super::exec;
use super::proc_net::{Socket, SocketState};
use super::processes::Process;

/// The agent's program.
const AGENT: &str = "spire-agent";

/// More than this is no configuration.
const CONFIG_MAX: u64 = 1 << 20;

/// An agent has one server, at a few addresses.
const PEERS_MAX: usize = 16;

/// What the agents of this host tell.
#[derive(Debug, Default)]
pub(super) struct Spire {
    /// The server that one is configured for.
    pub(super) server: Option<HostPort>,
    /// Who they are connected with, beyond this host.
    pub(super) peers: BTreeSet<SocketAddr>,
}

/// What systemd would start as the agent, whether it runs or not.
#[derive(Debug, Default)]
pub(super) struct Unit {
    /// Whom it runs as.
    user: u32,
    command: Option<(CommandLine, PathBuf)>,
}

/// Asks systemd for `spire-agent.service`.
pub(super) async fn unit() -> Unit {
    let properties = "--property=ExecStart,WorkingDirectory,User";
    let args = ["show", properties, "spire-agent.service"];
    let Some(systemctl) = exec::find("systemctl") else {
        return Unit::default();
    };
    let shown = exec::run(&systemctl, &args, "").await;
    shown.map_or_else(|_| Unit::default(), |shown| Unit::parse(&shown))
}

impl Unit {
    /// `ExecStart={ path=/bin/a ; argv[]=/bin/a run -config b ; ignore_errors=no ; … }`. A word with a space in it is two.
    fn parse(shown: &str) -> Self {
        let value = |key| shown.lines().find_map(|line: &str| line.strip_prefix(key));
        let command = || {
            let (_, arguments) = value("ExecStart=")?.split_once("argv[]=")?;
            let (arguments, _) = arguments.split_once(" ;")?;
            let words: Vec<&str> = arguments.split(' ').collect();
            // `!` before a directory that may be missing.
            let directory = value("WorkingDirectory=").unwrap_or_default();
            let directory = Path::new("/").join(directory.trim_start_matches('!'));
            Some((CommandLine::parse(words.join("\0").as_bytes()), directory))
        };
        let user = value("User=").unwrap_or_default();
        let named = || Some(User::from_name(user).ok()??.uid.as_raw());
        Self {
            // Root where nobody is named, or nobody of that name is here.
            user: user.parse().ok().or_else(named).unwrap_or(0),
            command: command(),
        }
    }

    fn server(&self) -> Option<HostPort> {
        let (command_line, directory) = self.command.as_ref()?;
        command_line.server(&read(&directory.join(command_line.config())))
    }
}

/// Finds the agent, as root: the process that listens on the Workload API's socket, when it is root's or of the unit's
/// user. Where none does, root's processes of its program; not others', who could have any address taken out of the mesh.
/// An agent has no socket before it has reached its server, which a closed host does not let it, and may not even run:
/// then what systemd would start counts.
pub(super) fn find(api: &Path, unit: &Unit, sockets: &[Socket], processes: &[Process]) -> Spire {
    let listener = listener(api, unit.user);
    let named = |process: &&Process| {
        process.is_roots() && process.runs(&[AGENT]) && process.shares_our_network()
    };
    let agents: Vec<&Process> = match &listener {
        Some(process) => vec![process],
        None => processes.iter().filter(named).collect(),
    };
    let mut found = Spire::default();
    for agent in agents {
        let command_line = CommandLine::parse(&agent.file("cmdline"));
        let config = read(&agent.path(command_line.config()));
        found.server = found.server.or_else(|| command_line.server(&config));
        let room = PEERS_MAX.saturating_sub(found.peers.len());
        found
            .peers
            .extend(peers(sockets, &agent.sockets()).take(room));
    }
    if found.server.is_none() {
        found.server = unit.server();
    }
    found
}

/// Who listens at this path, as the kernel says to whom connects: a name in its list of sockets could be made up. Root
/// and the agent's own user are believed.
fn listener(api: &Path, user: u32) -> Option<Process> {
    let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None).ok()?;
    // Who does not accept shall not make us wait.
    socket.set_nonblocking(true).ok()?;
    socket.connect(&SockAddr::unix(api).ok()?).ok()?;
    let peer = getsockopt(&socket, PeerCredentials).ok()?;
    let uid = peer.uid();
    let process = Process::of_pid(peer.pid().try_into().ok()?)?;
    // And the process of that number is still the one that listened.
    (uid == 0 || uid == user)
        .then_some(process)
        .filter(|process| process.is_of(uid))
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

/// The text of a file that another process named: only a regular file is opened, since to open a device may do something,
/// and no more is read than is sane.
fn read(path: &Path) -> String {
    let opened = |path: &Path, flags: OFlag| {
        std::fs::OpenOptions::new()
            .read(true)
            .custom_flags(flags.bits())
            .open(path)
    };
    let mut text = String::new();
    // What was looked at is then what is opened.
    if let Ok(named) = opened(path, OFlag::O_PATH)
        && named.metadata().is_ok_and(|metadata| metadata.is_file())
        && let Ok(file) = opened(
            Path::new(&format!("/proc/self/fd/{}", named.as_raw_fd())),
            OFlag::O_NONBLOCK | OFlag::O_NOCTTY,
        )
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
        let (command_line, directory) = Unit::parse(shown).command.unwrap();
        assert_eq!(
            directory.join(command_line.config()),
            Path::new("/opt/spire/conf/a.conf")
        );
        let none = Unit::parse("ExecStart=\nWorkingDirectory=\nUser=\n");
        assert!(none.command.is_none() && none.user == 0);
        assert_eq!(Unit::parse("User=4242\n").user, 4242);
        assert_eq!(Unit::parse("User=root\n").user, 0);
    }

    #[test]
    fn what_is_no_file_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(read(&pipe), "");
        assert_eq!(read(dir.path()), "");
        assert_eq!(read(Path::new("/dev/zero")), "");
        assert_eq!(read(&dir.path().join("missing")), "");
        let file = dir.path().join("file");
        std::fs::write(&file, "server_address").unwrap();
        assert_eq!(read(&file), "server_address");
    }

    #[test]
    fn who_listens_is_what_the_kernel_says() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("api.sock");
        let us = nix::unistd::geteuid().as_raw();
        assert!(listener(&path, us).is_none());
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert!(listener(&path, us).unwrap().is_of(us));
        if us != 0 {
            assert!(listener(&path, 0).is_none(), "of another user");
        }
    }

    #[test]
    fn who_does_not_accept_does_not_make_root_wait() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("api.sock");
        let us = nix::unistd::geteuid().as_raw();
        let server = socket2::Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        server.bind(&SockAddr::unix(&path).unwrap()).unwrap();
        server.listen(0).unwrap();
        let _waits = std::os::unix::net::UnixStream::connect(&path).unwrap();
        assert!(listener(&path, us).is_none());
    }

    #[test]
    fn a_planted_socket_of_another_user_is_not_the_agent() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let all = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        std::fs::set_permissions(dir.path(), all).unwrap();
        let path = dir.path().join("api.sock");
        let code = "use IO::Socket::UNIX; my $l = IO::Socket::UNIX->new(Local => $ARGV[0], Listen => 9) or die; $| = 1; print \"ready\\n\"; sleep 3600";
        let mut planted = std::process::Command::new("setpriv")
            .args(["--reuid", "42424", "--clear-groups", "perl", "-e", code])
            .arg(&path)
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = [0; 1];
        let told = planted.stdout.take().unwrap().read_exact(&mut ready);
        let (as_root, as_the_unit) = (listener(&path, 0), listener(&path, 42_424));
        planted.kill().unwrap();
        planted.wait().unwrap();
        told.unwrap();
        assert!(as_root.is_none());
        assert!(as_the_unit.is_some());
    }
}
