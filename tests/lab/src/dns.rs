//! The cluster's DNS, as the hosts of the lab see it.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::net::{self, Namespace};
use crate::poll;
use crate::run::Run;

/// The names that the walk-through's VM resolves.
const NAMES: [(&str, &str); 6] = [
    (
        "linkerd-autoregistration.linkerd.svc.cluster.local",
        net::CONTROL,
    ),
    (
        "linkerd-autoregistration.linkerd-expansion.svc.cluster.local",
        net::CONTROL,
    ),
    (
        "linkerd-dst-headless.linkerd.svc.cluster.local",
        net::CONTROL,
    ),
    ("linkerd-policy.linkerd.svc.cluster.local", net::CONTROL),
    (
        "training-vm.training.svc.cluster.local",
        net::TRAINING_SERVICE,
    ),
    (
        "simple-app-v1.simple-app.svc.cluster.local",
        net::SIMPLE_APP_SERVICE,
    ),
];

/// A dnsmasq that knows these names and asks nobody.
#[derive(Debug)]
pub struct Dns {
    dnsmasq: Child,
}

impl Dns {
    /// Starts it on `host`, and waits until it answers.
    pub fn start(run: &Run, host: &Namespace) -> Result<Self> {
        let mut names = String::new();
        for (name, address) in NAMES {
            let _infallible = writeln!(names, "{address} {name}");
        }
        let file = run.dir().join("hosts");
        fs::write(&file, names).context("write the names of the cluster")?;
        let log = File::create(run.dir().join("dnsmasq.log")).context("open dnsmasq's log")?;
        let mut dnsmasq = host.command(Path::new("dnsmasq"));
        dnsmasq.args([
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--no-resolv",
            "--no-hosts",
            "--user=root",
        ]);
        dnsmasq.args(["--pid-file=", "--local=/cluster.local/", "--local-ttl=5"]);
        dnsmasq.arg(format!("--addn-hosts={}", file.display()));
        dnsmasq
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("share the log")?)
            .stderr(log);
        let dns = Self {
            dnsmasq: dnsmasq.spawn().context("start dnsmasq")?,
        };
        poll::until("dnsmasq", Duration::from_secs(10), || {
            host.connects(net::CONTROL, 53)
        })?;
        Ok(dns)
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        let _ended = self.dnsmasq.kill();
        let _reaped = self.dnsmasq.wait();
    }
}
