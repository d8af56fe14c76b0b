//! A small network of namespaces: a peer, the VM under test, and a container behind the VM.
//!
//! ```text
//! peer 10.77.0.2 -- 10.77.0.1 vm 10.78.0.1 -- 10.78.0.2 container
//!      fd77::2   -- fd77::1
//! ```
#![allow(clippy::unwrap_used, reason = "test support")]
#![allow(dead_code, reason = "each test crate uses a part")]

use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{getsockopt, setsockopt, sockopt};

static COUNTER: AtomicU32 = AtomicU32::new(0);

/// One network namespace, deleted on drop.
#[derive(Debug)]
pub(crate) struct Namespace(String);

/// The network above. All of it goes on drop.
#[derive(Debug)]
pub(crate) struct Net {
    pub(crate) peer: Namespace,
    pub(crate) vm: Namespace,
    pub(crate) container: Namespace,
}

/// A connection to a [`serve`]d port, after its greeting was read.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
    /// Who answered: `<label> <original destination>`.
    pub(crate) greeting: String,
}

impl Namespace {
    pub(crate) fn new(role: &str) -> Self {
        assert!(
            nix::unistd::geteuid().is_root(),
            "this test makes network namespaces and changes their rules: run it as root"
        );
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = format!("lph-{}-{number}-{role}", std::process::id());
        let new = Self(name);
        run(&["ip", "netns", "add", &new.0], "");
        new.ip("link set lo up");
        new
    }

    pub(crate) fn name(&self) -> &str {
        &self.0
    }

    /// `ip -n <namespace> …`.
    pub(crate) fn ip(&self, args: &str) {
        let words: Vec<&str> = ["ip", "-n", &self.0]
            .into_iter()
            .chain(args.split(' '))
            .collect();
        run(&words, "");
    }

    /// Runs a program in the namespace; panics when it fails; gives its output.
    pub(crate) fn run(&self, program: &[&str], input: &str) -> String {
        let words: Vec<&str> = ["ip", "netns", "exec", &self.0]
            .into_iter()
            .chain(program.iter().copied())
            .collect();
        run(&words, input)
    }

    /// Runs a function on a thread that is in the namespace.
    pub(crate) fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                enter(&self.0);
                work()
            });
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Runs a future on a thread that is in the namespace, with the programs that it starts.
    pub(crate) fn block_on<T: Send>(&self, future: impl Future<Output = T> + Send) -> T {
        self.inside(|| {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap()
                .block_on(future)
        })
    }

    /// Answers on a port, of both families, until the test process ends: a greeting, then each line comes back.
    pub(crate) fn serve(&self, port: u16, label: &'static str) {
        let listener = self.inside(|| TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                std::thread::spawn(move || greet(stream, label));
            }
        });
    }

    /// Connects as this uid and reads who answers; an error's text when nobody does.
    pub(crate) fn connect_as(&self, uid: u32, to: &str) -> Result<Connection, String> {
        let to: SocketAddr = to.parse().unwrap();
        self.inside(|| {
            // Of this thread only; `xt_owner` looks at it.
            nix::unistd::setfsuid(uid.into());
            Connection::open(to)
        })
    }

    /// Who answers.
    pub(crate) fn ask(&self, to: &str) -> String {
        self.ask_as(0, to)
    }

    /// Who answers this uid.
    pub(crate) fn ask_as(&self, uid: u32, to: &str) -> String {
        self.connect_as(uid, to)
            .map_or_else(|error| error, |connection| connection.greeting)
    }

    /// All rules of a backend, without dates and counters.
    pub(crate) fn rules(&self, backend: &str) -> String {
        ["nat", "mangle", "raw", "filter"]
            .iter()
            .map(|table| self.table(backend, table))
            .collect()
    }

    /// One table of a backend, without dates and counters.
    pub(crate) fn table(&self, backend: &str, table: &str) -> String {
        let dump = self.run(&[&format!("iptables-{backend}-save"), "-t", table], "");
        dump.lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| {
                line.split_once(" [")
                    .filter(|_| line.starts_with(':'))
                    .map_or(line, |(chain, _)| chain)
                    .to_owned()
                    + "\n"
            })
            .collect()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let status = Command::new("ip").args(["netns", "del", &self.0]).status();
        assert!(
            status.is_ok_and(|status| status.success()) || std::thread::panicking(),
            "cannot delete namespace {}",
            self.0
        );
    }
}

impl Net {
    pub(crate) fn new() -> Self {
        let net = Self {
            peer: Namespace::new("peer"),
            vm: Namespace::new("vm"),
            container: Namespace::new("container"),
        };
        let Self {
            peer,
            vm,
            container,
        } = &net;
        vm.ip(&format!(
            "link add eth0 type veth peer name eth0 netns {}",
            peer.name()
        ));
        vm.ip(&format!(
            "link add docker0 type veth peer name eth0 netns {}",
            container.name()
        ));
        for (namespace, link, v4, v6) in [
            (vm, "eth0", "10.77.0.1/24", Some("fd77::1/64")),
            (vm, "docker0", "10.78.0.1/24", None),
            (peer, "eth0", "10.77.0.2/24", Some("fd77::2/64")),
            (container, "eth0", "10.78.0.2/24", None),
        ] {
            namespace.ip(&format!("addr add {v4} dev {link}"));
            if let Some(v6) = v6 {
                namespace.ip(&format!("addr add {v6} dev {link} nodad"));
            }
            namespace.ip(&format!("link set {link} up"));
        }
        peer.ip("route add 10.78.0.0/24 via 10.77.0.1");
        container.ip("route add default via 10.78.0.1");
        vm.run(&["sysctl", "-qw", "net.ipv4.ip_forward=1"], "");
        net
    }
}

impl Connection {
    /// The port that it comes from.
    pub(crate) fn local_port(&self) -> u16 {
        self.stream.get_ref().local_addr().unwrap().port()
    }

    /// Connects from the namespace of this thread, and reads who answers; an error's text when nobody does.
    pub(crate) fn open(to: SocketAddr) -> Result<Self, String> {
        let limit = Duration::from_secs(3);
        let stream = TcpStream::connect_timeout(&to, limit).map_err(|error| error.to_string())?;
        stream.set_read_timeout(Some(limit)).unwrap();
        let mut stream = BufReader::new(stream);
        let mut greeting = String::new();
        stream
            .read_line(&mut greeting)
            .map_err(|error| error.to_string())?;
        Ok(Self {
            stream,
            greeting: greeting.trim_end().to_owned(),
        })
    }

    /// Ends with a reset, which leaves no port in `TIME_WAIT`.
    pub(crate) fn reset(self) {
        let linger = nix::libc::linger {
            l_onoff: 1,
            l_linger: 0,
        };
        setsockopt(self.stream.get_ref(), sockopt::Linger, &linger).unwrap();
    }

    /// Whether a line still comes back.
    pub(crate) fn echoes(&mut self) -> bool {
        let mut line = String::new();
        let sent = self.stream.get_mut().write_all(b"hello\n").is_ok();
        sent && self.stream.read_line(&mut line).is_ok() && line == "hello\n"
    }
}

fn enter(name: &str) {
    let file = std::fs::File::open(format!("/run/netns/{name}")).unwrap();
    setns(file, CloneFlags::CLONE_NEWNET).unwrap();
}

fn greet(mut stream: TcpStream, label: &str) {
    let mut lines = BufReader::new(stream.try_clone().unwrap());
    let mut text = format!("{label} {}\n", original_destination(&stream));
    while !text.is_empty() && stream.write_all(text.as_bytes()).is_ok() {
        text.clear();
        if lines.read_line(&mut text).is_err() {
            return;
        }
    }
}

/// Where the client wanted to go: from connection tracking, else the address it reached.
fn original_destination(stream: &TcpStream) -> SocketAddr {
    let local = stream.local_addr().unwrap();
    match local.ip().to_canonical() {
        IpAddr::V4(ip) => {
            let original = getsockopt(stream, sockopt::OriginalDst).ok();
            let original = original.map(|addr| {
                (
                    u32::from_be(addr.sin_addr.s_addr),
                    u16::from_be(addr.sin_port),
                )
            });
            original.map_or_else(
                || SocketAddr::new(ip.into(), local.port()),
                |(ip, port)| SocketAddr::new(Ipv4Addr::from(ip).into(), port),
            )
        }
        IpAddr::V6(_) => {
            let original = getsockopt(stream, sockopt::Ip6tOriginalDst).ok();
            original.map_or(local, |addr| {
                SocketAddr::new(
                    Ipv6Addr::from(addr.sin6_addr.s6_addr).into(),
                    u16::from_be(addr.sin6_port),
                )
            })
        }
    }
}

fn run(words: &[&str], input: &str) -> String {
    let mut child = Command::new(words[0])
        .args(&words[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot run {words:?}: {error}"));
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap_or_else(|error| panic!("cannot write to {words:?}: {error}"));
    let output = child.wait_with_output().unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{words:?} failed:\n{stdout}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    stdout
}
