//! A real API server in which Linkerd is installed as far as `autoregistration` looks.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use lab::apiserver::ApiServer;
use lab::{exec, poll};
use serde_json::{Value, json};

pub(crate) const NAMESPACE: &str = "load";
pub(crate) const GROUP: &str = "load";
const WORKLOADS: &str = "apis/workload.linkerd.io/v1beta1/namespaces/load/externalworkloads";
const GROUPS: &str = "apis/workload.buoyant.io/v1alpha1/namespaces/load/externalgroups";
const DEFINITIONS: &str = "apis/apiextensions.k8s.io/v1/customresourcedefinitions";
/// A definition that was made just now is not served yet.
const PATIENCE: Duration = Duration::from_secs(30);
const PAGE: usize = 1000;

pub(crate) struct Cluster {
    server: ApiServer,
    url: String,
    token: String,
    ca: String,
    dir: tempfile::TempDir,
}

/// Versions of the workloads by name.
pub(crate) type Versions = BTreeMap<String, String>;

impl Cluster {
    pub(crate) fn start(program: &Path) -> Result<Self> {
        let server = ApiServer::start()?;
        let file = std::fs::read_to_string(server.kubeconfig()).context("read the kubeconfig")?;
        let file: Value = serde_norway::from_str(&file).context("parse the kubeconfig")?;
        let text = |pointer| {
            let found = file.pointer(pointer).and_then(Value::as_str);
            found.map(str::to_owned).context(pointer)
        };
        let cluster = Self {
            url: text("/clusters/0/cluster/server")?,
            ca: text("/clusters/0/cluster/certificate-authority")?,
            token: text("/users/0/user/token")?,
            dir: tempfile::tempdir().context("make a directory")?,
            server,
        };
        cluster.prepare(program)?;
        Ok(cluster)
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.server.kubeconfig()
    }

    fn prepare(&self, program: &Path) -> Result<()> {
        let ours = exec::run(Command::new(program).arg("crds"))?.ok()?.stdout;
        let theirs =
            include_str!("../../../../autoregistration/tests/kubernetes/externalworkloads.yaml");
        for definition in [ours.as_str(), theirs] {
            // Comments and a mark at the start are not to everybody's taste.
            let definition: Value = serde_norway::from_str(definition).context("a definition")?;
            self.create(DEFINITIONS, &definition)?;
        }
        for name in ["linkerd", NAMESPACE] {
            self.create(
                "api/v1/namespaces",
                &json!({ "metadata": { "name": name } }),
            )?;
        }
        let key = rcgen::KeyPair::generate().context("make a key")?;
        let anchor = rcgen::CertificateParams::new(vec!["root.linkerd".to_owned()])
            .and_then(|params| params.self_signed(&key))
            .context("make a trust anchor")?
            .pem();
        for (name, key, text) in [
            ("linkerd-config", "values", "clusterDomain: cluster.local\n"),
            (
                "linkerd-identity-trust-roots",
                "ca-bundle.crt",
                anchor.as_str(),
            ),
        ] {
            let object = json!({ "metadata": { "name": name }, "data": { key: text } });
            self.create("api/v1/namespaces/linkerd/configmaps", &object)?;
        }
        let group = json!({
            "apiVersion": "workload.buoyant.io/v1alpha1",
            "kind": "ExternalGroup",
            "metadata": { "name": GROUP },
            "spec": {
                "template": { "metadata": { "labels": { "app": "load" } }, "ports": [{ "name": "http", "port": 80 }] },
                "probes": [{ "httpGet": { "port": 80, "path": "/" } }],
            },
        });
        poll::until("the group", PATIENCE, || self.create(GROUPS, &group))?;
        poll::until("the definition of workloads", PATIENCE, || self.versions())?;
        Ok(())
    }

    /// Of all workloads.
    pub(crate) fn versions(&self) -> Result<Versions> {
        let mut versions = Versions::new();
        let mut next = String::new();
        loop {
            let page = self.get(&format!("{WORKLOADS}?limit={PAGE}&continue={next}"))?;
            for item in page["items"].as_array().into_iter().flatten() {
                let text = |field: &str| item["metadata"][field].as_str().map(str::to_owned);
                let (Some(name), Some(version)) = (text("name"), text("resourceVersion")) else {
                    continue;
                };
                versions.insert(name, version);
            }
            match page["metadata"]["continue"].as_str() {
                Some(token) if !token.is_empty() => token.clone_into(&mut next),
                _ => return Ok(versions),
            }
        }
    }

    fn get(&self, path: &str) -> Result<Value> {
        let answer = exec::run(&mut self.curl(path))?.ok()?;
        serde_json::from_str(&answer.stdout).with_context(|| format!("parse {path}"))
    }

    fn create(&self, path: &str, object: &Value) -> Result<()> {
        let file = self.dir.path().join("object.json");
        std::fs::write(&file, object.to_string()).context("write an object")?;
        let mut curl = self.curl(path);
        curl.args(["-H", "Content-Type: application/json", "--data-binary"]);
        curl.arg(format!("@{}", file.display()));
        drop(exec::run(&mut curl)?.ok()?);
        Ok(())
    }

    fn curl(&self, path: &str) -> Command {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--fail-with-body", "--cacert", &self.ca]);
        curl.args(["-H", &format!("Authorization: Bearer {}", self.token)]);
        curl.arg(format!("{}/{path}", self.url));
        curl
    }
}
