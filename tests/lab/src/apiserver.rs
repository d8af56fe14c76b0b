//! A real kube-apiserver with its etcd on loopback, for tests of what talks to Kubernetes. RBAC is on.
//!
//! Nothing else of a cluster is there: no controller collects what an owner leaves behind, and no pod ever runs.

mod certificates;
pub(crate) mod process;
mod request;

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::host::Host;
use crate::{exec, go, pki, poll};
use process::Process;

/// Token of a user who may do everything.
const ADMIN: &str = "admin-of-this-test";
const MODULE: &str = "tests/lab/kubernetes";
/// Every call is written down once it is answered; of watches that they began.
const AUDIT: &str = "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules: [{ level: Metadata }]\n";
/// A free port can be taken by somebody else before it is used.
const TRIES: usize = 3;
/// It takes 3 s on an idle machine; tests share theirs.
const PATIENCE: Duration = Duration::from_secs(120);

/// Kubernetes' two programs on this machine.
#[derive(Clone, Debug)]
struct Binaries {
    etcd: PathBuf,
    apiserver: PathBuf,
}

/// A running API server; ended with the value, and with the process that started it.
#[derive(Debug)]
pub struct ApiServer {
    binaries: Binaries,
    place: Place,
    port: u16,
    audited: bool,
    // Processes end before their directory goes.
    apiserver: Process,
    _etcd: Process,
    dir: TempDir,
}

/// The words that go before a command to run it where the API server is; none for this machine itself.
#[derive(Clone, Debug, Default)]
struct Place(Vec<String>);

/// Builds Kubernetes' programs when there are none yet.
pub fn prepare() -> Result<()> {
    Binaries::find().map(drop)
}

// === impl Binaries ===

impl Binaries {
    /// Those that `ETCD_BIN` and `KUBE_APISERVER_BIN` name, those in PATH, or ones built from the Go module.
    fn find() -> Result<Self> {
        let program = |name, variable, package| go::Program {
            name,
            variable,
            module: MODULE,
            package,
            cgo: false,
        };
        Ok(Self {
            etcd: program("etcd", "ETCD_BIN", "go.etcd.io/etcd/server/v3").find()?,
            apiserver: program(
                "kube-apiserver",
                "KUBE_APISERVER_BIN",
                "k8s.io/kubernetes/cmd/kube-apiserver",
            )
            .find()?,
        })
    }
}

// === impl Place ===

impl Place {
    fn command(&self, program: &Path) -> Command {
        let mut words = self.0.iter();
        let Some(first) = words.next() else {
            return Command::new(program);
        };
        let mut command = Command::new(first);
        command.args(words).arg(program);
        command
    }

    /// A `curl` that may do everything; `dir` has the API server's certificate.
    fn curl(&self, dir: &Path) -> Command {
        let mut curl = self.command(Path::new("curl"));
        curl.args(["-sS", "--fail-with-body", "--max-time", "5", "--cacert"])
            .arg(dir.join("ca.crt"))
            .args(["-H", &format!("Authorization: Bearer {ADMIN}")]);
        curl
    }
}

// === impl ApiServer ===

impl ApiServer {
    /// Starts both and waits until the API answers.
    pub fn start() -> Result<Self> {
        Self::start_at(Place::default(), false)
    }

    /// The same, and it writes down who calls what: see [`Self::calls`].
    pub fn start_audited() -> Result<Self> {
        Self::start_at(Place::default(), true)
    }

    /// Starts it on the loopback of a host of the lab.
    pub fn start_on(host: &dyn Host) -> Result<Self> {
        Self::start_at(Place(host.entrance()?), false)
    }

    fn start_at(place: Place, audited: bool) -> Result<Self> {
        let binaries = Binaries::find()?;
        let dir = tempfile::Builder::new()
            .prefix("apiserver-")
            .tempdir()
            .context("make a directory for the API server")?;
        certificates::write(dir.path())?;
        fs::write(
            dir.path().join("tokens.csv"),
            format!("{ADMIN},admin,admin,system:masters\n"),
        )
        .context("write the tokens")?;
        fs::write(dir.path().join("audit.yaml"), AUDIT).context("write the audit policy")?;
        let etcd = etcd(&binaries, dir.path())?;
        let (apiserver, port) = apiserver(&binaries, &place, dir.path(), audited)?;
        let server = Self {
            binaries,
            place,
            port,
            audited,
            apiserver,
            _etcd: etcd,
            dir,
        };
        server.write_kubeconfig(&server.kubeconfig(), ADMIN)?;
        Ok(server)
    }

    /// A kubeconfig of a user who may do everything. To act as somebody else, impersonate.
    pub fn kubeconfig(&self) -> PathBuf {
        self.dir.path().join("kubeconfig")
    }

    /// Its calls since the start, one JSON object (`audit.k8s.io/v1` `Event`) a line. Empty unless it is audited.
    pub fn calls(&self) -> Result<String> {
        let log = self.dir.path().join("audit.log");
        if self.audited {
            fs::read_to_string(log).context("read the audit log")
        } else {
            Ok(String::new())
        }
    }

    /// Ends the API server at once; etcd keeps what it was told.
    pub fn kill(&mut self) {
        self.apiserver.kill();
    }

    /// Starts the API server again, on its old port.
    pub fn restart(&mut self) -> Result<()> {
        self.kill();
        let (dir, port) = (self.dir.path(), self.port);
        self.apiserver = apiserver_on(&self.binaries, &self.place, dir, port, self.audited)?;
        Ok(())
    }

    /// Stops it where it is, as a machine that is frozen: its connections stay, and nothing is answered.
    pub fn pause(&self) -> Result<()> {
        self.apiserver.signal(Signal::SIGSTOP)
    }

    /// Lets it go on with what it was doing.
    pub fn resume(&self) -> Result<()> {
        self.apiserver.signal(Signal::SIGCONT)
    }

    fn write_kubeconfig(&self, file: &Path, token: &str) -> Result<()> {
        let (port, ca) = (self.port, self.dir.path().join("ca.crt"));
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: test\n\
             clusters: [{{ name: test, cluster: {{ server: \"https://127.0.0.1:{port}\", certificate-authority: \"{}\" }} }}]\n\
             users: [{{ name: test, user: {{ token: {token} }} }}]\n\
             contexts: [{{ name: test, context: {{ cluster: test, user: test }} }}]\n",
            ca.display()
        );
        pki::write(file, 0o600, &text)
    }
}

/// On Unix sockets in its own directory, so that it can collide with nobody.
fn etcd(binaries: &Binaries, dir: &Path) -> Result<Process> {
    let mut etcd = Command::new(&binaries.etcd);
    etcd.args(["--name=test", "--data-dir=etcd", "--unsafe-no-fsync"])
        .args(["--log-level=warn", "--initial-cluster=test=unix://peer:0"])
        .args(["--listen-peer-urls=unix://peer:0"])
        .args(["--initial-advertise-peer-urls=unix://peer:0"])
        .args(["--listen-client-urls=unix://client:0"])
        .args(["--advertise-client-urls=unix://client:0"]);
    Process::start(&etcd, dir, "etcd.log")
}

fn apiserver(
    binaries: &Binaries,
    place: &Place,
    dir: &Path,
    audited: bool,
) -> Result<(Process, u16)> {
    let mut last = None;
    for _ in 0..TRIES {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|listener| listener.local_addr())
            .context("find a free port")?
            .port();
        match apiserver_on(binaries, place, dir, port, audited) {
            Ok(process) => return Ok((process, port)),
            Err(error) => last = Some(error),
        }
    }
    Err(last.context("the API server was not tried")?)
}

fn apiserver_on(
    binaries: &Binaries,
    place: &Place,
    dir: &Path,
    port: u16,
    audited: bool,
) -> Result<Process> {
    let mut apiserver = place.command(&binaries.apiserver);
    apiserver
        .args(["--etcd-servers=unix://client:0", "--bind-address=127.0.0.1"])
        .arg(format!("--secure-port={port}"))
        .args(["--tls-cert-file=tls.crt", "--tls-private-key-file=tls.key"])
        .args(["--cert-dir=certs", "--token-auth-file=tokens.csv"])
        .args(["--authorization-mode=RBAC", "--anonymous-auth=false"])
        .args(["--service-cluster-ip-range=10.96.0.0/16"])
        .args(["--service-account-issuer=https://test.invalid"])
        .args(["--service-account-key-file=accounts.pub"])
        .args(["--service-account-signing-key-file=accounts.key"])
        // Without a controller manager no namespace gets its ServiceAccount.
        .args(["--disable-admission-plugins=ServiceAccount"]);
    if audited {
        apiserver.args([
            "--audit-policy-file=audit.yaml",
            "--audit-log-path=audit.log",
        ]);
    }
    let process = Process::start(&apiserver, dir, "kube-apiserver.log")?;
    let url = format!("https://127.0.0.1:{port}/readyz");
    let ready = poll::until("the API server", PATIENCE, || {
        if process.has_ended() {
            // There is nothing to wait for.
            return Ok(false);
        }
        let mut curl = place.curl(dir);
        exec::run(curl.arg(&url))?.ok().map(|_| true)
    });
    match ready {
        Ok(true) => Ok(process),
        Ok(false) => bail!("kube-apiserver has ended:\n{}", process.last_words()),
        Err(error) => Err(error.context(process.last_words())),
    }
}
