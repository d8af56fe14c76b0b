//! What a person does with `kubectl`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Deserialize as _;
use serde_json::{Value, json};

use super::ApiServer;
use crate::{exec, poll};

/// Between the definition of a kind and the first object of it.
const PATIENCE: Duration = Duration::from_secs(30);

impl ApiServer {
    /// The object or list at `path`.
    pub fn get(&self, path: &str) -> Result<Value> {
        self.request("GET", path, None)
    }

    /// `kubectl apply --server-side` of all documents in `manifest`.
    pub fn apply(&self, manifest: &str) -> Result<()> {
        self.apply_all(documents(manifest)?)
    }

    /// The same for the documents of these kinds only.
    pub fn apply_kinds(&self, manifest: &str, kinds: &[&str]) -> Result<()> {
        let mut chosen = documents(manifest)?;
        chosen.retain(|document| {
            document["kind"]
                .as_str()
                .is_some_and(|kind| kinds.contains(&kind))
        });
        self.apply_all(chosen)
    }

    fn apply_all(&self, documents: Vec<Value>) -> Result<()> {
        for document in documents {
            let path = path(&document)?;
            poll::until(&format!("{path} to be applied"), PATIENCE, || {
                self.request(
                    "PATCH",
                    &format!("{path}?fieldManager=lab&force=true"),
                    Some(&document),
                )
            })?;
        }
        Ok(())
    }

    /// A kubeconfig of a `ServiceAccount`, with what its roles grant.
    pub fn kubeconfig_of(&self, namespace: &str, account: &str) -> Result<PathBuf> {
        let request = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {},
        });
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token");
        let answer = self.request("POST", &path, Some(&request))?;
        let token = answer.pointer("/status/token").and_then(Value::as_str);
        let file = self.dir.path().join(format!("kubeconfig-{account}"));
        self.write_kubeconfig(&file, token.context("the answer has no token")?)?;
        Ok(file)
    }

    fn request(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        let mut curl = self.place.curl(self.dir.path());
        curl.args(["-X", method]);
        if let Some(body) = body {
            let file = self.dir.path().join("request.json");
            fs::write(&file, body.to_string()).context("write a request")?;
            let kind = match method {
                "PATCH" => "application/apply-patch+yaml",
                _ => "application/json",
            };
            curl.args(["-H", &format!("Content-Type: {kind}"), "--data-binary"])
                .arg(at(&file));
        }
        curl.arg(format!("https://127.0.0.1:{}{path}", self.port));
        let answer = exec::run_as(&mut curl, &format!("{method} {path}"))?.ok()?;
        serde_json::from_str(&answer.stdout).with_context(|| format!("read the answer of {path}"))
    }
}

fn at(file: &Path) -> String {
    format!("@{}", file.display())
}

fn documents(manifest: &str) -> Result<Vec<Value>> {
    let documents = serde_norway::Deserializer::from_str(manifest);
    let documents =
        documents.map(|document| Value::deserialize(document).context("read a manifest"));
    let objects = documents.filter(|document| !matches!(document, Ok(Value::Null)));
    objects.collect()
}

/// Where an object is. The kinds of the lab all have the plainest of plurals.
fn path(object: &Value) -> Result<String> {
    let text = |path: &str| {
        let text = object.pointer(path).and_then(Value::as_str);
        text.with_context(|| format!("a manifest has no {path}"))
    };
    let (version, name) = (text("/apiVersion")?, text("/metadata/name")?);
    let api = if version.contains('/') { "apis" } else { "api" };
    let kind = text("/kind")?.to_lowercase();
    let namespace = text("/metadata/namespace")
        .map(|namespace| format!("/namespaces/{namespace}"))
        .unwrap_or_default();
    Ok(format!("/{api}/{version}{namespace}/{kind}s/{name}"))
}
