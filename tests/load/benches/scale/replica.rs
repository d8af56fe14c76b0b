//! A replica as a process of its own, and what it costs.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use lab::{exec, poll};

use crate::cluster::Cluster;

const PATIENCE: Duration = Duration::from_secs(60);
/// Of the kernel's times of a process; fixed by its interface.
const TICKS_PER_SECOND: f64 = 100.0;

#[derive(Debug)]
pub(crate) struct Replica {
    process: Child,
    pub(crate) registration: SocketAddr,
    admin: SocketAddr,
    _log: tempfile::TempDir,
}

/// What a process has used up to a moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    /// Resident memory, in KiB.
    pub(crate) resident: f64,
    /// Time on a CPU, in seconds.
    pub(crate) cpu: f64,
    at: Instant,
}

/// The program that is shipped, built beside this one unless `AUTOREGISTRATION_BIN` names another.
pub(crate) fn program() -> Result<PathBuf> {
    if let Some(program) = std::env::var_os("AUTOREGISTRATION_BIN") {
        return Ok(program.into());
    }
    let own = std::env::current_exe().context("find this program")?;
    let beside = own
        .parent()
        .and_then(Path::parent)
        .map(|dir| dir.join("autoregistration"));
    beside.filter(|program| program.exists()).context(
        "no autoregistration is built; run `cargo build --release -p autoregistration` first",
    )
}

impl Replica {
    /// Starts one, and waits until it serves.
    pub(crate) fn start(
        program: &Path,
        cluster: &Cluster,
        name: &str,
        writes: u32,
    ) -> Result<Self> {
        let [registration, peers, admin] = [free()?, free()?, free()?];
        let log = tempfile::tempdir().context("make a directory")?;
        let file = File::create(log.path().join("log")).context("make a log")?;
        let mut command = Command::new(program);
        command
            .arg("--kubeconfig")
            .arg(cluster.kubeconfig())
            .arg(format!("--registration-listen={registration}"))
            .arg(format!("--peer-listen={peers}"))
            .arg(format!("--admin-listen={admin}"))
            .arg(format!("--writes-per-second={writes}"))
            .args(["--namespace=default", "--pod-name", name])
            .env("RUST_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(file.try_clone().context("share a log")?)
            .stderr(file);
        let process = command
            .spawn()
            .with_context(|| format!("start {}", program.display()))?;
        let replica = Self {
            process,
            registration,
            admin,
            _log: log,
        };
        poll::until("the replica", PATIENCE, || replica.show("ready").map(drop))?;
        Ok(replica)
    }

    pub(crate) fn usage(&self) -> Result<Usage> {
        let id = self.process.id();
        let read = |name| fs::read_to_string(format!("/proc/{id}/{name}")).context("read /proc");
        let (status, stat) = (read("status")?, read("stat")?);
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let resident = resident.and_then(|it| it.split_whitespace().next()?.parse().ok());
        // After the name, which may have blanks in it.
        let fields = stat.rsplit(") ").next().unwrap_or_default();
        let fields = fields.split(' ').skip(11).take(2);
        let ticks = fields.map(|field| field.parse::<f64>().unwrap_or_default());
        Ok(Usage {
            resident: resident.context("no VmRSS")?,
            cpu: ticks.sum::<f64>() / TICKS_PER_SECOND,
            at: Instant::now(),
        })
    }

    /// Calls about single workloads up to now.
    pub(crate) fn writes(&self) -> Result<u64> {
        let text = self.show("metrics")?;
        let lines = text.lines().filter(|line| line.contains("_writes_total{"));
        let counts = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
        Ok(counts.sum())
    }

    /// Asks it to go, and waits until it has gone.
    pub(crate) fn stop(mut self) -> Result<Duration> {
        let begun = Instant::now();
        let id = self.process.id().to_string();
        drop(exec::run(Command::new("kill").args(["-TERM", &id]))?.ok()?);
        let _status = self.process.wait().context("wait for the replica")?;
        Ok(begun.elapsed())
    }

    fn show(&self, what: &str) -> Result<String> {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--fail-with-body", "--max-time", "5"]);
        curl.arg(format!("http://{}/{what}", self.admin));
        Ok(exec::run(&mut curl)?.ok()?.stdout)
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        // It may have gone by itself.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

impl Usage {
    /// Share of one CPU since `before`, in percent.
    pub(crate) fn percent_since(&self, before: &Self) -> f64 {
        let passed = self.at.duration_since(before.at).as_secs_f64();
        (self.cpu - before.cpu) / passed * 100.0
    }
}

fn free() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("find a free port")?;
    listener.local_addr().context("find a free port")
}
