//! The cluster's side that no VM can do without: DNS, and autoregistration as a small Linkerd control plane.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::cluster::Cluster;
use crate::dns::Dns;
use crate::exec;
use crate::host::Host as _;
use crate::net::{self, Namespace, Net};
use crate::pki::Pki;
use crate::poll;
use crate::products::Products;
use crate::run::Run;

/// An `ExternalWorkload`, as far as the lab looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its condition `Ready`.
    pub ready: bool,
}

impl Workload {
    fn read(item: &serde_json::Value) -> Option<Self> {
        let metadata = item.get("metadata")?;
        let text = |key: &str| Some(metadata.get(key)?.as_str()?.to_owned());
        let conditions = item
            .pointer("/status/conditions")
            .and_then(serde_json::Value::as_array);
        let ready = conditions.is_some_and(|conditions| {
            conditions
                .iter()
                .any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
        });
        Some(Self {
            namespace: text("namespace")?,
            name: text("name")?,
            ready,
        })
    }
}

/// The host that autoregistration and DNS run on.
#[derive(Debug)]
pub struct Control {
    /// The host itself.
    pub host: Namespace,
    program: PathBuf,
    pki: Pki,
    manifests: PathBuf,
    log: PathBuf,
    service: Option<Child>,
    cluster: Option<Cluster>,
    _dns: Dns,
}

impl Control {
    /// Starts both, with a copy of the lab's manifests.
    pub fn start(run: &Run, net: &Net, pki: &Pki, products: &Products) -> Result<Self> {
        let mut control = Self::make(run, net, pki, products)?;
        control.start_service()?;
        Ok(control)
    }

    /// Starts both, autoregistration with the lab's manifests in an API server.
    pub fn start_in_cluster(run: &Run, net: &Net, pki: &Pki, products: &Products) -> Result<Self> {
        let mut control = Self::make(run, net, pki, products)?;
        let cluster = Cluster::start(run, &control.host, pki, products, &control.manifests)?;
        control.cluster = Some(cluster);
        control.start_service()?;
        Ok(control)
    }

    fn make(run: &Run, net: &Net, pki: &Pki, products: &Products) -> Result<Self> {
        let host = net.namespace("control", net::CONTROL)?;
        let manifests = run.dir().join("manifests");
        copy_manifests(&manifests)?;
        let dns = Dns::start(run, &host)?;
        Ok(Self {
            host,
            program: products.autoregistration.clone(),
            pki: pki.clone(),
            manifests,
            log: run.dir().join("autoregistration.log"),
            service: None,
            cluster: None,
            _dns: dns,
        })
    }

    /// The cluster, when there is one.
    pub fn cluster(&mut self) -> Result<&mut Cluster> {
        self.cluster.as_mut().context("this lab has no API server")
    }

    /// Starts autoregistration and waits until its ports answer.
    pub fn start_service(&mut self) -> Result<()> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .context("open autoregistration's log")?;
        let mut service = self.host.command(&self.program);
        match &self.cluster {
            Some(cluster) => service.args(cluster.arguments()),
            None => service.arg("--standalone").arg(&self.manifests).args([
                "--destination-listen",
                "0.0.0.0:8086",
                "--policy-listen",
                "0.0.0.0:8090",
            ]),
        };
        service.arg("--trust-anchors").arg(&self.pki.anchor);
        service
            .arg("--tls-cert")
            .arg(&self.pki.control)
            .arg("--tls-key")
            .arg(&self.pki.control_key);
        service.args([
            "--registration-listen",
            "0.0.0.0:8081",
            "--admin-listen",
            "127.0.0.1:9990",
        ]);
        service
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("share the log")?)
            .stderr(log);
        self.service = Some(service.spawn().context("start autoregistration")?);
        let up = poll::until("autoregistration", Duration::from_secs(20), || {
            for port in [8081, 8086, 8090] {
                self.host.connects(net::CONTROL, port)?;
            }
            Ok(())
        });
        up.with_context(|| self.report())
    }

    /// Ends autoregistration at once, as a lost node would.
    pub fn kill_service(&mut self) -> Result<()> {
        if let Some(mut service) = self.service.take() {
            service.kill().context("kill autoregistration")?;
            service.wait().context("wait for autoregistration to end")?;
        }
        Ok(())
    }

    /// A path of its admin port, as text.
    pub fn admin(&self, path: &str) -> Result<String> {
        self.host.get(&format!(
            "curl -sSf --max-time 5 http://127.0.0.1:9990{path}"
        ))
    }

    /// The workloads that autoregistration knows.
    pub fn workloads(&self) -> Result<Vec<Workload>> {
        let list: serde_json::Value = serde_json::from_str(
            &self.admin("/apis/workload.linkerd.io/v1beta1/externalworkloads")?,
        )
        .context("read the workloads")?;
        let items = list
            .get("items")
            .and_then(serde_json::Value::as_array)
            .context("it is no list")?;
        Ok(items.iter().filter_map(Workload::read).collect())
    }

    /// Changes one of its manifests, which it follows.
    pub fn edit(&self, manifest: &str, change: impl FnOnce(&str) -> String) -> Result<()> {
        let path = self.manifests.join(manifest);
        let text =
            fs::read_to_string(&path).with_context(|| format!("read `{}`", path.display()))?;
        let changed = change(&text);
        ensure!(changed != text, "`{}` is as it was", path.display());
        fs::write(&path, changed).with_context(|| format!("write `{}`", path.display()))
    }

    /// Lets both groups be probed at once and every second, for tests that start a VM's daemon again and again: the
    /// walk-through's group is 3 s late, and 10 s later when the workload is slower than that.
    pub fn probe_often(&self) -> Result<()> {
        for (manifest, delay, period) in [("training-vm.yaml", 3, 10), ("simple-app-v1.yaml", 1, 2)]
        {
            self.edit(manifest, |text| {
                text.replace(
                    &format!("initialDelaySeconds: {delay}\n    periodSeconds: {period}\n"),
                    "initialDelaySeconds: 0\n    periodSeconds: 1\n",
                )
            })?;
        }
        Ok(())
    }

    /// Autoregistration's log since it was started first.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The last lines of autoregistration's log.
    pub fn report(&self) -> String {
        let log = self.log();
        let last: Vec<&str> = log.lines().rev().take(60).collect();
        let controllers = self.cluster.as_ref().map(Cluster::report);
        format!(
            "autoregistration:\n{}\n{}",
            exec::indented(&last.into_iter().rev().collect::<Vec<_>>().join("\n")),
            controllers.unwrap_or_default()
        )
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // The lab's end removes whatever is left.
        let _ended = self.kill_service();
    }
}

fn copy_manifests(to: &Path) -> Result<()> {
    let from = crate::place::source().join("tests/lab/manifests");
    fs::create_dir_all(to).with_context(|| format!("make `{}`", to.display()))?;
    for entry in fs::read_dir(&from).with_context(|| format!("read `{}`", from.display()))? {
        let entry = entry.context("list the manifests")?;
        fs::copy(entry.path(), to.join(entry.file_name())).context("copy a manifest")?;
    }
    Ok(())
}
