//! A real kube-apiserver with its etcd on loopback, for tests of what talks to Kubernetes. RBAC is on.
//!
//! Nothing else of a cluster is there: no controller collects what an owner leaves behind, and no pod ever runs.

mod certificates;
mod process;

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use crate::{exec, go, poll};
use process::Process;

/// Token of a user who may do everything.
const ADMIN: &str = "admin-of-this-test";
const MODULE: &str = "tests/lab/kubernetes";
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
    port: u16,
    // Processes end before their directory goes.
    apiserver: Process,
    _etcd: Process,
    dir: TempDir,
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

// === impl ApiServer ===

impl ApiServer {
    /// Starts both and waits until the API answers.
    pub fn start() -> Result<Self> {
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
        let etcd = etcd(&binaries, dir.path())?;
        let (apiserver, port) = apiserver(&binaries, dir.path())?;
        let server = Self {
            binaries,
            port,
            apiserver,
            _etcd: etcd,
            dir,
        };
        server.write_kubeconfig()?;
        Ok(server)
    }

    /// A kubeconfig of a user who may do everything. To act as somebody else, impersonate.
    pub fn kubeconfig(&self) -> PathBuf {
        self.dir.path().join("kubeconfig")
    }

    /// Ends the API server at once; etcd keeps what it was told.
    pub fn kill(&mut self) {
        self.apiserver.kill();
    }

    /// Starts the API server again, on its old port.
    pub fn restart(&mut self) -> Result<()> {
        self.kill();
        self.apiserver = apiserver_on(&self.binaries, self.dir.path(), self.port)?;
        Ok(())
    }

    fn write_kubeconfig(&self) -> Result<()> {
        let (port, ca) = (self.port, self.dir.path().join("ca.crt"));
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: test\n\
             clusters: [{{ name: test, cluster: {{ server: \"https://127.0.0.1:{port}\", certificate-authority: \"{}\" }} }}]\n\
             users: [{{ name: test, user: {{ token: {ADMIN} }} }}]\n\
             contexts: [{{ name: test, context: {{ cluster: test, user: test }} }}]\n",
            ca.display()
        );
        fs::write(self.kubeconfig(), text).context("write the kubeconfig")
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

fn apiserver(binaries: &Binaries, dir: &Path) -> Result<(Process, u16)> {
    let mut last = None;
    for _ in 0..TRIES {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|listener| listener.local_addr())
            .context("find a free port")?
            .port();
        match apiserver_on(binaries, dir, port) {
            Ok(process) => return Ok((process, port)),
            Err(error) => last = Some(error),
        }
    }
    Err(last.context("the API server was not tried")?)
}

fn apiserver_on(binaries: &Binaries, dir: &Path, port: u16) -> Result<Process> {
    let mut apiserver = Command::new(&binaries.apiserver);
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
    let process = Process::start(&apiserver, dir, "kube-apiserver.log")?;
    let url = format!("https://127.0.0.1:{port}/readyz");
    let ca = dir.join("ca.crt");
    let ready = poll::until("the API server", PATIENCE, || {
        if process.has_ended() {
            // There is nothing to wait for.
            return Ok(false);
        }
        let mut curl = Command::new("curl");
        curl.args(["-sSf", "--max-time", "5", "--cacert"]).arg(&ca);
        curl.args(["-H", &format!("Authorization: Bearer {ADMIN}"), &url]);
        exec::run(&mut curl)?.ok().map(|_| true)
    });
    match ready {
        Ok(true) => Ok(process),
        Ok(false) => bail!("kube-apiserver has ended:\n{}", process.last_words()),
        Err(error) => Err(error.context(process.last_words())),
    }
}
