//! The binary as a child process.

use crate::poll;
use std::collections::BTreeMap;
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// The environment, without the prefix.
pub(crate) type Env = BTreeMap<&'static str, String>;

const STAND_IN: &str = env!("CARGO_BIN_EXE_stand-in-proxy");

/// The stand-in, unless `LINKERD2_PROXY_BIN` names a real proxy to check these tests with, or
/// `LINKERD2_PROXY_BIN_<NAME>` one for a single host, so that a real one and a stand-in meet.
fn binary(name: &str) -> String {
    let only = format!(
        "LINKERD2_PROXY_BIN_{}",
        name.replace('-', "_").to_uppercase()
    );
    [only.as_str(), "LINKERD2_PROXY_BIN"]
        .iter()
        .find_map(|variable| std::env::var(variable).ok())
        .unwrap_or_else(|| STAND_IN.to_owned())
}

/// A running proxy; killed with the test.
pub(crate) struct Proxy {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Proxy {
    /// Starts it by a command line that ends in the binary, or plainly when `through` is empty.
    pub(crate) fn spawn(through: &[&str], env: &Env, dir: &std::path::Path, name: &str) -> Self {
        Self::spawn_binary(&binary(name), through, env, dir, name)
    }

    /// Starts the stand-in, whatever the other tests run.
    pub(crate) fn stand_in(env: &Env, dir: &std::path::Path) -> Self {
        Self::spawn_binary(STAND_IN, &[], env, dir, "stand-in")
    }

    fn spawn_binary(
        binary: &str,
        through: &[&str],
        env: &Env,
        dir: &std::path::Path,
        name: &str,
    ) -> Self {
        let (program, rest) = through
            .split_first()
            .map_or((binary, None), |(first, rest)| (*first, Some(rest)));
        let mut command = Command::new(program);
        if let Some(rest) = rest {
            command.args(rest).arg(binary);
        }
        let (stdout, stderr) = (
            dir.join(format!("{name}.out")),
            dir.join(format!("{name}.err")),
        );
        let child = command
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .envs(
                env.iter()
                    .map(|(key, value)| (format!("LINKERD2_PROXY_{key}"), value)),
            )
            .stdin(Stdio::null())
            .stdout(std::fs::File::create(&stdout).unwrap())
            .stderr(std::fs::File::create(&stderr).unwrap())
            .spawn()
            .unwrap();
        Self {
            child,
            stdout,
            stderr,
        }
    }

    pub(crate) fn stdout(&self) -> String {
        std::fs::read_to_string(&self.stdout).unwrap()
    }

    pub(crate) fn stderr(&self) -> String {
        std::fs::read_to_string(&self.stderr).unwrap()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub(crate) fn terminate(&self) {
        let pid = nix::unistd::Pid::from_raw(self.child.id().cast_signed());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    }

    pub(crate) async fn exit(&mut self) -> ExitStatus {
        let child = &mut self.child;
        let stdout = self.stdout.clone();
        let mut status = None;
        poll::until("the proxy exits", || {
            status = child.try_wait().unwrap();
            let (status, stdout) = (status, stdout.clone());
            async move {
                let mut log = String::new();
                std::fs::File::open(stdout)
                    .unwrap()
                    .read_to_string(&mut log)
                    .unwrap();
                status.ok_or(log)
            }
        })
        .await
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            println!(
                "--- {}\n{}{}",
                self.stdout.display(),
                self.stdout(),
                self.stderr()
            );
        }
    }
}

/// A complete environment on free ports of 127.0.0.1.
pub(crate) fn mk_env(socket: &std::path::Path, anchors: &str, id: &str) -> Env {
    let [inbound, outbound, admin, control] = free_ports();
    Env::from([
        (
            "IDENTITY_SPIRE_WORKLOAD_API_ADDRESS",
            format!("unix://{}", socket.display()),
        ),
        ("IDENTITY_SERVER_ID", id.to_owned()),
        (
            "IDENTITY_SERVER_NAME",
            "vm.ns.external.identity.linkerd.cluster.local".into(),
        ),
        ("IDENTITY_TRUST_ANCHORS", anchors.to_owned()),
        ("INBOUND_LISTEN_ADDR", format!("127.0.0.1:{inbound}")),
        ("OUTBOUND_LISTEN_ADDRS", format!("127.0.0.1:{outbound}")),
        ("ADMIN_LISTEN_ADDR", format!("127.0.0.1:{admin}")),
        ("DESTINATION_SVC_ADDR", format!("127.0.0.1:{control}")),
        ("POLICY_SVC_ADDR", format!("127.0.0.1:{control}")),
        (
            "POLICY_WORKLOAD",
            r#"{"ns":"ns","external_workload":"vm"}"#.into(),
        ),
        ("INBOUND_DEFAULT_POLICY", "all-unauthenticated".into()),
        ("SHUTDOWN_GRACE_PERIOD", "1s".into()),
    ])
}

/// Ports that were free a moment ago, all different.
fn free_ports<const N: usize>() -> [u16; N] {
    let listeners = [(); N].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

/// Status and body of a plain GET.
pub(crate) async fn get(addr: &str, path: &str) -> std::io::Result<(u16, String)> {
    let addr: SocketAddr = addr.parse().unwrap();
    request(
        tokio::net::TcpStream::connect(addr).await?,
        &addr.to_string(),
        path,
        "",
    )
    .await
}

/// One request on one connection; `headers` end in CRLF.
pub(crate) async fn request(
    mut stream: tokio::net::TcpStream,
    host: &str,
    path: &str,
    headers: &str,
) -> std::io::Result<(u16, String)> {
    let head = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(head.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    status
        .map(|status| (status, body.to_owned()))
        .ok_or_else(|| std::io::Error::other(format!("no HTTP answer but {answer:?}")))
}
