//! `FailurePolicy: closed` as the unit runs it: `prepare`, the daemon, `cleanup`; and what still gets through.

use std::io::ErrorKind;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::netns::{Connection, Namespace, Net};
use crate::{DEADLINE, mk_dir, mk_systemctl};

/// Plays a program of root: its name, whether it listens on a TCP port, and whom it greets with the name.
const SERVER: &str = r#"
use IO::Socket::INET; $0 = $ARGV[0];
my $l = IO::Socket::INET->new(LocalPort => $ARGV[1], Listen => 9, ReuseAddr => 1) or die "listen: $!";
my @open; while (my $c = $l->accept) { print $c "$ARGV[0]\n"; $c->flush; push @open, $c; }
"#;

/// Plays a SPIRE agent: the Workload API's socket, a connection to a server, a command line.
const AGENT: &str = r#"
use IO::Socket::INET; use IO::Socket::UNIX;
my $api = IO::Socket::UNIX->new(Local => $ENV{API}, Listen => 9) or die "api: $!";
my $server;
until ($server = IO::Socket::INET->new(PeerAddr => $ENV{SERVER})) { select undef, undef, undef, 0.1; }
sleep 3600;
"#;

/// The host with what runs on it; all of it ends with the test.
struct Host {
    net: Net,
    dir: tempfile::TempDir,
    programs: Mutex<Vec<Child>>,
}

impl Host {
    /// Workload, sshd; the peer plays the control plane (8081), a SPIRE server (9081, 9082) and somebody else (80).
    fn new() -> Self {
        let net = Net::new();
        net.vm.serve(80, "app");
        for port in [80, 8081, 9081, 9082] {
            net.peer.serve(port, "peer");
        }
        let dir = mk_dir();
        std::fs::create_dir(dir.path().join("run")).unwrap();
        mk_systemctl(dir.path(), "running");
        let host = Self {
            net,
            dir,
            programs: Mutex::default(),
        };
        host.server("sshd", 22);
        host.configure("closed");
        host
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn vm(&self) -> &Namespace {
        &self.net.vm
    }

    fn configure(&self, policy: &str) {
        let config = serde_json::json!({
            "WorkloadGroup": { "Name": "training-vm", "Namespace": "training" },
            "Control": { "Address": "10.77.0.2:8081", "ServerId": "controller.example" },
            "Identity": { "SpireSocketAddress": self.path("api.sock") },
            "FailurePolicy": policy,
            "ProxyUserID": 65534,
        });
        std::fs::write(self.path("config"), config.to_string()).unwrap();
    }

    fn start(&self, command: &mut Command) {
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let child = self.net.vm.inside(|| {
            loop {
                match command.spawn() {
                    // A child of another test's thread still has open what was just written, until its exec.
                    Err(error) if error.kind() == ErrorKind::ExecutableFileBusy => {
                        std::thread::yield_now();
                    }
                    child => break child.unwrap(),
                }
            }
        });
        self.programs.lock().unwrap().push(child);
    }

    /// A program of root that listens, in place when this returns.
    fn server(&self, name: &str, port: u16) {
        let port = port.to_string();
        // It is known by the name of its program's file.
        let program = self.path(name);
        if !program.exists() {
            let perl = std::env::split_paths(&std::env::var_os("PATH").unwrap())
                .map(|directory| directory.join("perl"))
                .find(|file| file.is_file());
            std::fs::copy(perl.unwrap(), &program).unwrap();
        }
        self.start(Command::new(program).args(["-e", SERVER, name, &port]));
        let hex = format!(":{:04X} 00000000:0000 0A", port.parse::<u16>().unwrap());
        let table = || std::fs::read_to_string("/proc/thread-self/net/tcp").unwrap();
        until(&format!("{name} listens"), || {
            self.net.vm.inside(table).contains(&hex)
        });
    }

    fn spire_agent(&self) {
        let config = self.path("agent.conf");
        std::fs::write(
            &config,
            "agent {\n server_address = \"10.77.0.2\"\n server_port = 9081\n}\n",
        )
        .unwrap();
        let mut agent = Command::new("perl");
        agent
            .arg0("spire-agent")
            .args(["-e", AGENT, "--", "run", "-config"]);
        agent.arg(config).env("API", self.path("api.sock"));
        self.start(agent.env("SERVER", "10.77.0.2:9082"));
    }

    /// That the agent is connected with this server.
    fn until_agent_connected(&self) {
        let table = || std::fs::read_to_string("/proc/thread-self/net/tcp").unwrap();
        // 9082, established.
        until("the agent is connected", || {
            self.vm().inside(table).contains(":237A 01")
        });
    }

    /// A session of an SSH server by another name, which the test plays: the connection, and the shell behind it.
    fn session(&self, port: u16) -> Connection {
        self.net.vm.serve(port, "teleport");
        let session = self.net.peer.connect_as(0, &format!("10.77.0.1:{port}"));
        let session = session.unwrap();
        let from = session.local_port();
        let mut shell = Command::new("sleep");
        let variable = format!("10.77.0.2 {from} 10.77.0.1 {port}");
        self.start(shell.arg("3600").env("SSH_CONNECTION", variable));
        session
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_linkerd-proxy-harness"));
        command.args(args).arg("--config").arg(self.path("config"));
        let path = format!(
            "{}:{}",
            self.dir.path().display(),
            std::env::var("PATH").unwrap()
        );
        command.env("PATH", path);
        command.env("STATE_DIRECTORY", self.dir.path());
        command.env("RUNTIME_DIRECTORY", self.path("run"));
        command.env_remove("SERVICE_RESULT");
        command
    }

    fn harness(&self, args: &[&str]) -> Output {
        let mut command = self.command(args);
        self.vm().inside(|| command.output().unwrap())
    }

    /// As root's part of the unit does, before the daemon.
    fn prepare(&self) {
        let output = self.harness(&["prepare"]);
        assert!(output.status.success(), "{output:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    }

    /// As root's part of the unit does, after the daemon. Answers what it said.
    fn cleanup(&self, service_result: Option<&str>) -> String {
        let mut command = self.command(&["cleanup"]);
        if let Some(result) = service_result {
            command.env("SERVICE_RESULT", result);
        }
        let output = self.vm().inside(|| command.output().unwrap());
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// The daemon, when it answers.
    fn run(&self) -> Daemon<'_> {
        let log = std::fs::File::create(self.path("log")).unwrap();
        let mut command = self.command(&["run"]);
        command.stderr(log);
        let child = self.vm().inside(|| command.spawn().unwrap());
        let daemon = Daemon { host: self, child };
        until("the daemon answers", || daemon.status().is_some());
        daemon
    }

    /// Nobody gets in or out, but for the guard rails.
    fn assert_closed(&self, when: &str) {
        let Net { peer, vm, .. } = &self.net;
        for (from, to) in [(peer, "10.77.0.1:80"), (vm, "10.77.0.2:80")] {
            let answer = from.ask(to);
            assert!(answer.contains("refused"), "{when}: {to} {answer}");
        }
        assert_eq!(peer.ask("10.77.0.1:22"), "sshd", "{when}");
        assert_eq!(vm.ask("10.77.0.2:8081"), "peer 10.77.0.2:8081", "{when}");
    }

    fn assert_open(&self, when: &str) {
        let Net { peer, vm, .. } = &self.net;
        assert_eq!(peer.ask("10.77.0.1:80"), "app 10.77.0.1:80", "{when}");
        assert_eq!(vm.ask("10.77.0.2:80"), "peer 10.77.0.2:80", "{when}");
        assert!(!vm.rules("nft").contains("PROXY_INIT"), "{when}");
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        for program in self.programs.get_mut().unwrap() {
            assert!(program.kill().is_ok() && program.wait().is_ok());
        }
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.path("log")).unwrap_or_default();
            eprintln!("the daemon's log:\n{log}");
        }
    }
}

struct Daemon<'a> {
    host: &'a Host,
    child: Child,
}

impl Daemon<'_> {
    fn status(&self) -> Option<serde_json::Value> {
        let page = self.host.vm().inside(|| get("127.0.0.1:4192", "/status"))?;
        serde_json::from_str(page.split_once("\r\n\r\n")?.1).ok()
    }

    fn redirection(&self) -> String {
        let status = self.status().unwrap_or_default();
        status["redirection"]["reason"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    fn kill(mut self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
        let status = self.child.wait().unwrap();
        assert_eq!(status.success(), signal == Signal::SIGTERM, "{status}");
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            assert!(self.child.kill().is_ok() && self.child.wait().is_ok());
        }
    }
}

fn get(to: &str, path: &str) -> Option<String> {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(to).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(3))).ok()?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n\r\n"
    )
    .ok()?;
    let mut page = String::new();
    stream.read_to_string(&mut page).ok()?;
    Some(page)
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whether the kernel still has the rule that was there before: what is deleted and made anew has another handle.
fn jumps(vm: &Namespace) -> Vec<String> {
    let rules = vm.run(&["nft", "-a", "list", "table", "ip", "nat"], "");
    let jumps = rules
        .lines()
        .filter(|line| line.contains("jump PROXY_INIT"));
    jumps
        .filter_map(|line| Some(line.rsplit_once("# handle")?.1.trim().to_owned()))
        .collect()
}

#[test]
fn a_closed_host_is_closed_before_the_daemon_and_after_its_crash_and_open_after_a_clean_stop() {
    let host = Host::new();
    host.assert_open("at first");
    host.prepare();
    host.assert_closed("prepared");
    let laid = jumps(host.vm());
    assert_eq!(laid.len(), 2);

    let daemon = host.run();
    until("the page says so", || daemon.redirection() == "HeldClosed");
    host.assert_closed("the daemon waits for an identity");
    daemon.kill(Signal::SIGKILL);
    host.assert_closed("crashed");
    let said = host.cleanup(Some("signal"));
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains("linkerd-proxy-harness cleanup"), "{said}");
    host.assert_closed("cleaned up after a crash");

    host.prepare();
    let daemon = host.run();
    until("the page says so", || daemon.redirection() == "HeldClosed");
    assert_eq!(jumps(host.vm()), laid, "never a moment without rules");
    daemon.kill(Signal::SIGTERM);
    assert_eq!(host.cleanup(Some("success")), "");
    host.assert_open("after a clean stop");
}

#[test]
fn a_configuration_that_was_broken_meanwhile_does_not_open_a_closed_host() {
    let host = Host::new();
    host.prepare();
    host.run().kill(Signal::SIGKILL);
    host.cleanup(Some("signal"));
    std::fs::write(host.path("config"), "{").unwrap();
    host.prepare();
    assert_eq!(host.harness(&["run"]).status.code(), Some(78));
    host.cleanup(Some("exit-code"));
    host.assert_closed("the configuration is broken");
    let said = host.cleanup(None);
    assert!(said.contains("removed IPv4 rules"), "{said}");
    host.assert_open("opened by hand");

    // What was decided for the next start holds from then on.
    host.configure("closed");
    host.prepare();
    host.configure("open");
    host.cleanup(Some("signal"));
    host.assert_closed("until the next start");
    host.prepare();
    host.assert_open("the policy is open now");
    assert_eq!(host.cleanup(Some("signal")), "");
}

#[test]
fn nobody_gets_around_a_closed_host_while_its_daemon_crashes_and_comes_back() {
    let host = Host::new();
    host.prepare();
    let over = AtomicBool::new(false);
    let answers = std::thread::scope(|scope| {
        let knocking = scope.spawn(|| {
            let mut answers = Vec::new();
            while !over.load(Ordering::Relaxed) {
                answers.push(host.net.peer.ask("10.77.0.1:80"));
                answers.push(host.vm().ask("10.77.0.2:80"));
            }
            answers
        });
        for result in ["signal", "watchdog", "exit-code"] {
            host.prepare();
            let daemon = host.run();
            until("it looked at its rules", || {
                daemon.redirection() == "HeldClosed"
            });
            daemon.kill(Signal::SIGKILL);
            host.cleanup(Some(result));
        }
        over.store(true, Ordering::Relaxed);
        knocking.join().unwrap()
    });
    assert!(answers.len() > 10, "{}", answers.len());
    assert!(
        answers.iter().all(|answer| answer.contains("refused")),
        "{answers:?}"
    );
}

#[test]
fn the_operator_and_spire_get_through_a_closed_host() {
    let host = Host::new();
    host.spire_agent();
    host.until_agent_connected();
    let mut session = host.session(2022);
    host.prepare();
    let rails = |host: &Host| {
        let Net { peer, vm, .. } = &host.net;
        assert_eq!(peer.ask("10.77.0.1:2022"), "teleport 10.77.0.1:2022");
        // By its configuration, and by the connection that the agent has.
        for to in ["10.77.0.2:9081", "10.77.0.2:9082"] {
            assert_eq!(vm.ask(to), format!("peer {to}"));
        }
        host.assert_closed("but for the guard rails");
    };
    rails(&host);
    assert!(session.echoes(), "the session itself goes on");
    // Its peer only, and its port only.
    let container = host.net.container.ask("10.77.0.1:2022");
    assert!(container.contains("refused"), "{container}");
    let daemon = host.run();
    until("the page says so", || daemon.redirection() == "HeldClosed");
    rails(&host);
    drop(daemon);
}

#[test]
fn what_comes_later_is_found_by_roots_next_look() {
    let host = Host::new();
    host.prepare();
    let daemon = host.run();
    let asked = host.path("run/look-again");
    // The daemon is root in this test, so its own port is news too.
    until("root is asked to look", || asked.exists());
    host.harness(&["prepare", "--only-guard-rails"]);
    std::fs::remove_file(&asked).unwrap();

    host.server("sshd", 2222);
    host.spire_agent();
    until("root is asked to look", || asked.exists());
    for (from, to) in [
        (&host.net.peer, "10.77.0.1:2222"),
        (host.vm(), "10.77.0.2:9081"),
    ] {
        let answer = from.ask(to);
        assert!(answer.contains("refused"), "{answer}");
    }
    // What the path unit starts.
    let output = host.harness(&["prepare", "--only-guard-rails"]);
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{output:?}"
    );
    until("the new port of sshd is left alone", || {
        host.net.peer.ask("10.77.0.1:2222") == "sshd"
    });
    until("the SPIRE server is left alone", || {
        host.vm().ask("10.77.0.2:9081") == "peer 10.77.0.2:9081"
    });
    host.assert_closed("but for what was found");
    drop(daemon);
}
