//! A cluster as far as autoregistration and proxies see one: an API server with what Linkerd and our own installation put
//! there, and Linkerd's destination and policy controllers: its own, where the environment names them ([`Controllers`]), or
//! a STAND-IN of this source tree (`tests/stand-in-controllers`) that reads nothing but the API server.
//!
//! Controllers serve plaintext on loopback; in place of the proxy beside them a program of ours terminates TLS in front.

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::apiserver::ApiServer;
use crate::controllers::{Addresses, Controllers, Running, definitions};
use crate::host::Host as _;
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
const UP: Duration = Duration::from_secs(60);

/// The cluster's end of the lab.
#[derive(Debug)]
pub struct Cluster {
    /// The API server.
    pub api: ApiServer,
    account: PathBuf,
    /// Says which controllers these are.
    pub controllers: String,
    own: Running,
    stand_ins: Vec<Child>,
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
        let stand_in = Products::stand_in_controllers()?;
        let api = ApiServer::start_on(host)?;
        install(&api, pki, products).context("install Linkerd and autoregistration")?;
        for entry in fs::read_dir(manifests).context("list the manifests")? {
            let path = entry.context("list the manifests")?.path();
            api.apply(&read(&path)?)?;
        }
        let account = api.kubeconfig_of(NAMESPACE, ACCOUNT)?;
        let log_file = run.dir().join("controllers.log");
        let log = File::create(&log_file).context("open the controllers' log")?;
        let controllers = Controllers::find()?;
        let inside = Addresses::on(Ipv4Addr::LOCALHOST.into());
        let mut cluster = Self {
            own: controllers.start(&api.kubeconfig(), inside, &host.entrance()?)?,
            api,
            account,
            controllers: controllers.describe(),
            stand_ins: Vec::new(),
            log: log_file,
        };
        let mut start = |mut command: Command| {
            let log = log.try_clone().context("share the log")?;
            let command = command.stdin(Stdio::null()).stderr(log.try_clone()?);
            cluster.stand_ins.push(command.stdout(log).spawn()?);
            anyhow::Ok(())
        };
        let mut program = host.command(&stand_in.controllers);
        program.arg("--kubeconfig").arg(cluster.api.kubeconfig());
        for (own, name, addr) in [
            (
                &controllers.destination,
                "--destination-listen",
                inside.destination,
            ),
            (&controllers.policy, "--policy-listen", inside.policy),
        ] {
            if own.is_none() {
                program.arg(name).arg(addr.to_string());
            }
        }
        if controllers.destination.is_none() || controllers.policy.is_none() {
            start(program).context("start the stand-in for Linkerd's controllers")?;
        }
        let mut sidecar = host.command(&stand_in.sidecar);
        sidecar
            .arg("--trust-anchors")
            .arg(&pki.anchor)
            .arg("--tls-cert")
            .arg(&pki.control)
            .arg("--tls-key")
            .arg(&pki.control_key);
        for inside in [inside.destination, inside.policy] {
            let outside = format!("{}:{}", net::CONTROL, inside.port());
            sidecar.arg("--forward").arg(format!("{outside}={inside}"));
        }
        start(sidecar).context("start the stand-in for their proxy")?;
        poll::until("Linkerd's controllers", UP, || {
            for addr in [inside.destination, inside.policy] {
                host.connects(&addr.ip().to_string(), addr.port())?;
                host.connects(net::CONTROL, addr.port())?;
            }
            Ok(())
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

    /// What Linkerd's controllers, or what takes their place, have said.
    pub(crate) fn report(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        format!(
            "{}\n{}\n{}",
            self.controllers,
            exec::indented(&log),
            self.own.last_words()
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
        // Both fail only when one has ended.
        for stand_in in &mut self.stand_ins {
            let _ended = stand_in.kill();
            let _reaped = stand_in.wait();
        }
    }
}

fn install(api: &ApiServer, pki: &Pki, products: &Products) -> Result<()> {
    for namespace in ["linkerd", NAMESPACE, "training", "simple-app"] {
        let object = json!({
            "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace },
        });
        api.apply(&object.to_string())?;
    }
    for definition in definitions() {
        api.apply(&definition.to_string())?;
    }
    // The policy controller's lease is owned by it.
    let labels = json!({ "app": "destination" });
    let deployment = json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "name": "linkerd-destination", "namespace": "linkerd" },
        "spec": {
            "selector": { "matchLabels": labels },
            "template": {
                "metadata": { "labels": labels },
                "spec": { "containers": [{ "name": "policy", "image": "none" }] },
            },
        },
    });
    api.apply(&deployment.to_string())?;
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
