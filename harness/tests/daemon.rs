//! The whole daemon, as its own process in a network namespace, with an agent, a controller and a proxy that the test
//! plays: the order of start, what systemd is told, the order of stop. Needs root, and fails without.
#![expect(clippy::unwrap_used, reason = "test support")]
#![allow(
    clippy::panic,
    clippy::print_stderr,
    clippy::expect_used,
    unreachable_pub,
    dead_code,
    reason = "test support, of which each test crate uses a part"
)]

#[path = "daemon/closed.rs"]
mod closed;
#[path = "support/controller.rs"]
mod controller;
#[path = "support/netns.rs"]
mod netns;
#[path = "daemon/open.rs"]
mod open;
#[path = "support/pki.rs"]
mod pki;
#[path = "daemon/probes.rs"]
mod probes;
#[path = "support/workload_api.rs"]
mod workload_api;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use linkerd_harness_api::v1::health_report::State as Health;
use linkerd_harness_api::v1::{
    controller_message::Kind as Says, harness_message::Kind as Hears, leave,
};
use linkerd_harness_core::redirect::page::Page;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::net::UnixDatagram;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use controller::{SERVER_ID, mk_assignment, mk_controller};
use netns::{Namespace, Net};
use pki::mk_authority;
use workload_api::{Says as AgentSays, mk_agent, mk_svid};

const ID: &str = "spiffe://root.linkerd.cluster.local/proxy-harness";
const DEADLINE: Duration = Duration::from_secs(20);

/// The daemon's process and what it tells systemd.
struct Daemon {
    child: Child,
    /// All of it so far.
    told: watch::Receiver<Vec<String>>,
    dir: tempfile::TempDir,
}

fn mk_dir() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    // The proxy runs as nobody.
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o777)).unwrap();
    dir
}

/// The proxy: cargo's example, told by a script what to play, since the daemon gives its child nothing of ours.
fn mk_proxy(dir: &Path, mode: &str) -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let fake = tests
        .ancestors()
        .nth(2)
        .unwrap()
        .join("examples/fake-proxy");
    assert!(
        fake.exists(),
        "`{}` is missing: cargo build -p linkerd-proxy-harness --examples",
        fake.display()
    );
    let script = dir.join("linkerd2-proxy");
    let text = format!(
        "#!/bin/sh\nexport FAKE_MODE={mode} FAKE_DIR={}\nexec {}\n",
        dir.display(),
        fake.display()
    );
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
    script
}

/// What `systemctl is-system-running` answers to the daemon.
fn mk_systemctl(dir: &Path, answer: &str) -> String {
    let script = dir.join("systemctl");
    std::fs::write(&script, format!("#!/bin/sh\necho {answer}\n")).unwrap();
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
    format!("{}:{}", dir.display(), std::env::var("PATH").unwrap())
}

fn start(dir: tempfile::TempDir, config: &serde_json::Value, system_is: &str) -> Daemon {
    let path = |name: &str| dir.path().join(name);
    std::fs::write(path("config"), config.to_string()).unwrap();
    let notify = UnixDatagram::bind(path("notify")).unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_linkerd-proxy-harness"))
        .args(["run", "--config"])
        .arg(path("config"))
        .env("PATH", mk_systemctl(dir.path(), system_is))
        .env("NOTIFY_SOCKET", path("notify"))
        .env("WATCHDOG_USEC", "200000")
        .env("STATE_DIRECTORY", dir.path())
        .env("RUNTIME_DIRECTORY", dir.path())
        .stderr(Stdio::from(std::fs::File::create(path("log")).unwrap()))
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let (tell, told) = watch::channel(Vec::new());
    // Taken as it comes, as systemd does: who tells waits while the queue is full.
    tokio::spawn(async move {
        let mut buffer = vec![0; 4096];
        while let Ok(length) = notify.recv(&mut buffer).await {
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            tell.send_modify(|told| told.extend(text.lines().map(str::to_owned)));
        }
    });
    Daemon { child, told, dir }
}

impl Daemon {
    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap()
    }

    fn events(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("events")).unwrap_or_default()
    }

    /// Waits until systemd is told a line that begins with `line`.
    async fn until_told(&mut self, line: &str) {
        let told = |told: &Vec<String>| told.iter().any(|told| told.starts_with(line));
        let heard = timeout(DEADLINE, self.told.wait_for(told)).await.is_ok();
        assert!(heard, "never told `{line}`, but {:?}", self.told.borrow());
    }

    async fn until(&self, what: &str, mut condition: impl FnMut(&Self) -> bool) {
        let deadline = Instant::now() + DEADLINE;
        while !condition(self) {
            assert!(Instant::now() < deadline, "never {what}\n{}", self.log());
            sleep(Duration::from_millis(20)).await;
        }
    }

    fn terminate(&self) {
        let pid = i32::try_from(self.child.id().unwrap()).unwrap();
        kill(Pid::from_raw(pid), Signal::SIGTERM).unwrap();
    }

    async fn end(&mut self) -> ExitStatus {
        timeout(DEADLINE, self.child.wait()).await.unwrap().unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the daemon's log:\n{}", self.log());
        }
    }
}

fn redirects(rules: &str) -> bool {
    rules.contains("-j PROXY_INIT_OUTPUT") && rules.contains("-j PROXY_INIT_REDIRECT")
}

fn health(kind: Hears) -> Option<(u64, Health)> {
    match kind {
        Hears::Health(report) => Some((report.seq, report.state())),
        _ => None,
    }
}

#[test]
fn the_daemon_starts_and_stops_in_order() {
    starts_and_stops("running", leave::Mode::Remove);
}

#[test]
fn a_machine_that_goes_down_keeps_its_workload() {
    starts_and_stops("stopping", leave::Mode::Reboot);
}

fn starts_and_stops(system_is: &str, leaves: leave::Mode) {
    // The VM of a network: the proxy wants an address that is not loopback.
    let net = Net::new();
    let vm = &net.vm;
    vm.block_on(async {
        let authority = mk_authority();
        let mut controller = mk_controller(&authority).await;
        let dir = mk_dir();
        let socket = dir.path().join("api.sock");
        let mut daemon = start(
            dir,
            &serde_json::json!({
                "WorkloadGroup": { "Name": "training-vm", "Namespace": "training" },
                "Control": { "Address": controller.address.to_string(), "ServerId": SERVER_ID },
                "Identity": { "SpireSocketAddress": socket },
                "ProxyUserID": 65534,
                "ProxyPath": mk_proxy(socket.parent().unwrap(), "good"),
            }),
            system_is,
        );

        // Ready for systemd before there is an identity, with the reason; nothing runs and nothing is redirected.
        daemon.until_told("READY=1").await;
        daemon.until_told("STATUS=identity: SocketMissing").await;
        daemon.until_told("WATCHDOG=1").await;
        assert!(!redirects(&vm.rules("nft")));
        assert_eq!(daemon.events(), "");

        let svid = mk_svid(&authority, ID, &authority.mk_svid(ID, 600));
        let _agent = mk_agent(&socket, AgentSays::Issues(vec![svid]));
        let mut session = controller.session().await;
        daemon.until_told("STATUS=registration:").await;
        assert_eq!(daemon.events(), "", "no proxy before the assignment");
        session
            .say(Says::Assignment(mk_assignment(&authority, ID, 1)))
            .await;
        let healthy = |kind| health(kind).filter(|(_, state)| *state == Health::Healthy);
        session.hear(healthy).await;
        daemon
            .until("redirected", |_| redirects(&vm.rules("nft")))
            .await;
        daemon.until_told("STATUS=meshed").await;

        let page = |path: &str| vm.run(&["curl", "-s", &format!("127.0.0.1:4192{path}")], "");
        let rules: Page = serde_json::from_str(&page("/redirect")).unwrap();
        let live = rules.live.unwrap();
        assert_eq!(rules.backend.unwrap().name, "nft");
        assert_eq!(live.wanted, rules.text["nft"]);
        assert_eq!(rules.text["legacy"], rules.text["nft"]);
        assert!(!rules.guard_rails.is_empty());
        // The first look is from before the rules were there, and the next one may be of after.
        assert!(["absent", "drifted", "applied"].contains(&live.state.as_str()));
        assert_eq!(live.text == live.wanted, live.state == "applied");
        assert!(page("/metrics").contains("# TYPE harness_redirect_rule_connections counter"));

        // Until the controller has confirmed that we drain, peers send requests: everything stays.
        daemon.terminate();
        daemon.until_told("STOPPING=1").await;
        let (seq, state) = session.hear(health).await;
        assert_eq!(state, Health::Draining);
        assert!(redirects(&vm.rules("nft")));
        assert!(!daemon.events().contains("term"));
        session.confirm(seq).await;
        daemon
            .until("told the proxy to end", |daemon| {
                daemon.events().contains("term")
            })
            .await;
        assert!(
            !redirects(&vm.rules("nft")),
            "rules go before the proxy does"
        );
        let bye = |kind| {
            if let Hears::Leave(leave) = kind {
                Some(leave.mode())
            } else {
                None
            }
        };
        assert_eq!(session.hear(bye).await, leaves);
        drop(session);
        assert!(daemon.end().await.success());
        assert!(!vm.rules("nft").contains("PROXY_INIT"), "nothing is left");
    });
}

#[test]
fn a_configuration_that_cannot_be_used_ends_with_78_and_says_all_of_it() {
    let vm = Namespace::new("badconfig");
    vm.block_on(async {
        let mut daemon = start(
            mk_dir(),
            &serde_json::json!({ "IPv6": "perhaps", "Contrl": {} }),
            "running",
        );
        assert_eq!(daemon.end().await.code(), Some(78));
        let log = daemon.log();
        for said in ["IPv6", "Contrl", "Control.Address", "WorkloadGroup.Name"] {
            assert!(log.contains(said), "{said} is not in:\n{log}");
        }
    });
}
