//! One supervised fake proxy with its own directory and ports.
#![expect(clippy::unwrap_used, reason = "test support")]

use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use linkerd_harness::proxy::{Launch, Reason, State, Timing, supervise_with};
use linkerd_harness_core::config::Config;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How long anything may take on a busy machine; shorter than the grace period.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

const CONFIG: &str = r#"{
  "WorkloadGroup": { "Name": "training-vm", "Namespace": "training" },
  "Control": { "Address": "control.example:8081", "ServerId": "control.example" }
}"#;

pub(crate) struct Lab {
    config: Config,
    pub(crate) launch: Launch,
    dir: TempDir,
    orders: Option<watch::Sender<Option<Arc<Launch>>>>,
    state: watch::Sender<State>,
    task: std::cell::RefCell<Option<JoinHandle<()>>>,
}

impl Lab {
    /// The child does not run yet.
    pub(crate) fn new(mode: &str) -> Self {
        let dir = open_dir();
        let program = dir.path().join("linkerd2-proxy");
        std::fs::copy(fake_proxy(), &program).unwrap();
        let [inbound, outbound, admin] = free_ports();
        let mut config = Config::parse(CONFIG).unwrap();
        config.proxy.inbound_listen = (Ipv4Addr::LOCALHOST, inbound).into();
        config.proxy.outbound_listen = vec![(Ipv4Addr::LOCALHOST, outbound).into()];
        config.proxy.admin_listen = (Ipv4Addr::LOCALHOST, admin).into();
        config.proxy.shutdown_grace = Duration::from_secs(60);
        let launch = Launch {
            environment: [
                ("FAKE_DIR", dir.path().to_str().unwrap().to_owned()),
                ("FAKE_MODE", mode.to_owned()),
                (
                    "LINKERD2_PROXY_INBOUND_LISTEN_ADDR",
                    config.proxy.inbound_listen.to_string(),
                ),
                (
                    "LINKERD2_PROXY_ADMIN_LISTEN_ADDR",
                    config.proxy.admin_listen.to_string(),
                ),
            ]
            .map(|(name, value)| (name.to_owned(), value))
            .into(),
            user_id: if is_root() {
                65534
            } else {
                nix::unistd::geteuid().as_raw()
            },
            program,
        };
        Self {
            config,
            launch,
            dir,
            orders: Some(watch::Sender::new(None)),
            state: watch::Sender::new(State::Stopped),
            task: None.into(),
        }
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    pub(crate) fn config_mut(&mut self) -> &mut Config {
        &mut self.config
    }

    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.launch
            .environment
            .insert(name.to_owned(), value.to_owned());
    }

    /// Orders the child, and starts the supervising task if there is none.
    pub(crate) fn start(&self) {
        self.send(Some(self.launch.clone()));
        if self.task.borrow().is_none() {
            let (config, launch, state) = self.parts();
            let timing = Timing {
                look_serving: Duration::from_millis(50),
                false_ready: Duration::from_millis(500),
                stop_margin: Duration::from_millis(100),
                restart_min: Duration::from_millis(50),
                ..Timing::default()
            };
            let task = tokio::spawn(supervise_with(Arc::new(config), timing, launch, state));
            self.task.replace(Some(task));
        }
    }

    /// For a test that runs the supervising task itself.
    pub(crate) fn parts(
        &self,
    ) -> (
        Config,
        watch::Receiver<Option<Arc<Launch>>>,
        watch::Sender<State>,
    ) {
        (
            self.config.clone(),
            self.orders.as_ref().unwrap().subscribe(),
            self.state.clone(),
        )
    }

    pub(crate) fn send(&self, launch: Option<Launch>) {
        self.orders
            .as_ref()
            .unwrap()
            .send_replace(launch.map(Arc::new));
    }

    /// Waits for a state.
    pub(crate) async fn until(&self, wanted: impl FnMut(&State) -> bool) -> State {
        let mut states = self.state.subscribe();
        let found = tokio::time::timeout(DEADLINE, states.wait_for(wanted)).await;
        let Ok(state) = found else {
            panic!(
                "last state: {:?}, events: {:?}",
                self.state.borrow(),
                self.events()
            )
        };
        state.unwrap().clone()
    }

    pub(crate) async fn until_failed(&self, reason: Reason) -> State {
        self.until(
            |state| matches!(state, State::Backoff { failure, .. } if failure.reason == reason),
        )
        .await
    }

    pub(crate) async fn stop(&self) {
        self.send(None);
        self.until(|state| *state == State::Stopped).await;
    }

    /// Drops the orders' sender and waits for the supervising task.
    pub(crate) async fn hang_up(&mut self) {
        self.orders = None;
        let task = self.task.take().unwrap();
        tokio::time::timeout(DEADLINE, task).await.unwrap().unwrap();
    }

    /// Makes or removes a file that the fake looks for.
    pub(crate) fn switch(&self, name: &str, on: bool) {
        let path = self.dir.path().join(name);
        if on {
            std::fs::write(path, "").unwrap();
        } else {
            std::fs::remove_file(path).unwrap();
        }
    }

    /// What the children recorded.
    pub(crate) fn events(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.dir.path().join("events")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

/// Ends a process that a failed test would leave behind.
pub(crate) struct KillOnDrop(pub(crate) u32);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        if is_alive(self.0) {
            let pid = nix::unistd::Pid::from_raw(self.0.try_into().unwrap());
            nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
        }
    }
}

/// A directory for everybody: root's child runs as nobody, who has to reach the program and write its events.
pub(crate) fn open_dir() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o777)).unwrap();
    dir
}

pub(crate) fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// A file of the process in `/proc`.
pub(crate) fn process(pid: u32, file: &str) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap()
}

/// Whether the process runs; a dead one that nobody has waited for does not.
pub(crate) fn is_alive(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        !stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .starts_with(" Z")
    })
}

pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + DEADLINE;
    while !condition() {
        assert!(
            tokio::time::Instant::now() < deadline,
            "waited in vain for {what}"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Built by cargo before the tests.
pub(crate) fn fake_proxy() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test
        .parent()
        .and_then(Path::parent)
        .unwrap()
        .join("examples/fake-proxy");
    assert!(
        path.exists(),
        "`{}` is missing: cargo build -p linkerd-proxy-harness --examples",
        path.display()
    );
    path
}

fn free_ports<const N: usize>() -> [u16; N] {
    let listeners: [TcpListener; N] =
        std::array::from_fn(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
    std::array::from_fn(|index| listeners[index].local_addr().unwrap().port())
}
