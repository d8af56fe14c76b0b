//! A cluster as far as autoregistration and proxies see one: an API server with what Linkerd and our own installation put
//! there, and, in place of Linkerd's destination and policy controllers, a STAND-IN of this source tree
//! (`tests/stand-in-controllers`) that reads nothing but the API server.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::apiserver::ApiServer;
use crate::net::{self, Namespace};
use crate::pki::Pki;
use crate::products::Products;
use crate::run::Run;
use crate::{exec, place, poll};

/// Where autoregistration is installed.
pub const NAMESPACE: &str = "linkerd-expansion";
/// Linkerd's definition of `ExternalWorkload`.
const EXTERNAL_WORKLOADS: &str = "autoregistration/tests/kubernetes/externalworkloads.yaml";
/// What an installation of Linkerd leaves in `linkerd-config`.
const LINKERD_CONFIG: &str = "autoregistration/src/linkerd/values/testdata/edge-26.8.yaml";
/// Our own installation as one manifest.
const INSTALLATION: &str = "deploy/linkerd-autoregistration.yaml";
const ACCOUNT: &str = "linkerd-autoregistration";

/// What is installed is only what an API server without nodes has a use for: who may do what.
const INSTALLED: [&str; 5] = [
    "ServiceAccount",
    "ClusterRole",
    "ClusterRoleBinding",
    "Role",
    "RoleBinding",
];

/// Long enough for a busy machine.
const UP: Duration = Duration::from_secs(20);

/// The cluster's end of the lab.
#[derive(Debug)]
pub struct Cluster {
    /// The API server.
    pub api: ApiServer,
    account: PathBuf,
    controllers: Child,
    log: PathBuf,
}

// === impl Cluster ===

impl Cluster {
    /// Starts it on `host`, with the groups and Services of the directory `manifests`.
    pub(crate) fn start(
        run: &Run,
        host: &Namespace,
        pki: &Pki,
        products: &Products,
        manifests: &Path,
    ) -> Result<Self> {
        let program = Products::controllers()?;
        let api = ApiServer::start_on(host)?;
        install(&api, pki, products).context("install Linkerd and autoregistration")?;
        for entry in fs::read_dir(manifests).context("list the manifests")? {
            let path = entry.context("list the manifests")?.path();
            api.apply(&read(&path)?)?;
        }
        let account = api.kubeconfig_of(NAMESPACE, ACCOUNT)?;
        let log_file = run.dir().join("controllers.log");
        let log = File::create(&log_file).context("open the stand-in's log")?;
        let mut controllers = host.command(&program);
        controllers
            .arg("--kubeconfig")
            .arg(api.kubeconfig())
            .arg("--trust-anchors")
            .arg(&pki.anchor)
            .arg("--tls-cert")
            .arg(&pki.control)
            .arg("--tls-key")
            .arg(&pki.control_key)
            .args(["--destination-listen", "0.0.0.0:8086"])
            .args(["--policy-listen", "0.0.0.0:8090"])
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("share the log")?)
            .stderr(log);
        let cluster = Self {
            api,
            account,
            controllers: controllers.spawn().context("start the stand-in")?,
            log: log_file,
        };
        poll::until("the stand-in for Linkerd's controllers", UP, || {
            host.connects(net::CONTROL, 8086)?;
            host.connects(net::CONTROL, 8090)
        })
        .with_context(|| cluster.report())?;
        Ok(cluster)
    }

    /// How autoregistration is started beside it.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let kubeconfig = self.account.display().to_string();
        let words = [
            ["--kubeconfig", &kubeconfig],
            ["--identity", "tls"],
            ["--namespace", NAMESPACE],
            ["--pod-name", ACCOUNT],
        ];
        words.concat().into_iter().map(str::to_owned).collect()
    }

    /// What the stand-in for Linkerd's controllers has said.
    pub(crate) fn report(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        format!(
            "stand-in for Linkerd's controllers:\n{}",
            exec::indented(&log)
        )
    }

    /// The `ExternalWorkload`s of a namespace.
    pub fn workloads(&self, namespace: &str) -> Result<Vec<Value>> {
        let path =
            format!("/apis/workload.linkerd.io/v1beta1/namespaces/{namespace}/externalworkloads");
        match self.api.get(&path)?.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => Ok(items),
            other => anyhow::bail!("the API server answered no list, but {other:?}"),
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Both fail only when it has ended.
        let _ended = self.controllers.kill();
        let _reaped = self.controllers.wait();
    }
}

fn install(api: &ApiServer, pki: &Pki, products: &Products) -> Result<()> {
    for namespace in ["linkerd", NAMESPACE, "training", "simple-app"] {
        let object = json!({
            "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace },
        });
        api.apply(&object.to_string())?;
    }
    let config = read(&place::source().join(LINKERD_CONFIG))?;
    for (name, key, text) in [
        ("linkerd-config", "values", config),
        (
            "linkerd-identity-trust-roots",
            "ca-bundle.crt",
            read(&pki.anchor)?,
        ),
    ] {
        let object = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": { "name": name, "namespace": "linkerd" },
            "data": { key: text },
        });
        api.apply(&object.to_string())?;
    }
    api.apply(&read(&place::source().join(EXTERNAL_WORKLOADS))?)?;
    let definition = exec::run(Command::new(&products.autoregistration).arg("crds"))?.ok()?;
    api.apply(&definition.stdout)?;
    let installation = read(&place::source().join(INSTALLATION))?;
    api.apply_kinds(&installation, &INSTALLED)
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("read `{}`", path.display()))
}
