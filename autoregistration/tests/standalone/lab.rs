//! A control plane on free ports of loopback, with its files in a directory of its own.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use autoregistration::args::CommandLine;
use autoregistration::standalone::{Error, Standalone};
use autoregistration::view::View;
use clap::Parser as _;
use tempfile::TempDir;
use tonic::transport::Channel;

use crate::pki::{AUTOREGISTRATION, Root};
use crate::vm;

/// How long a test waits for something that should happen at once.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) const GROUP: &str = "\
apiVersion: workload.buoyant.io/v1alpha1
kind: ExternalGroup
metadata: { name: training-vm, namespace: training }
spec:
  probes:
  - failureThreshold: 1
    httpGet: { path: /ready, port: 80, scheme: HTTP, host: 127.0.0.1 }
    initialDelaySeconds: 3
    periodSeconds: 10
    successThreshold: 1
    timeoutSeconds: 1
  template:
    metadata: { labels: { app: training-app, location: vm } }
    ports:
    - port: 80
";

pub(crate) const SERVICE: &str = "\
apiVersion: v1
kind: Service
metadata: { name: training-vm, namespace: training }
spec:
  selector: { app: training-app, location: vm }
  ports: [{ port: 80 }]
";

/// The files of a control plane.
pub(crate) struct Files {
    pub(crate) dir: TempDir,
    pub(crate) root: Root,
}

pub(crate) struct Lab {
    pub(crate) files: Files,
    pub(crate) standalone: Standalone,
}

impl Files {
    pub(crate) fn new() -> Self {
        let files = Self {
            dir: TempDir::new().unwrap(),
            root: Root::new("root.linkerd.cluster.local"),
        };
        std::fs::create_dir(files.path("manifests")).unwrap();
        files.write("manifests/group.yaml", GROUP);
        files.write("manifests/service.yaml", SERVICE);
        files.write("anchors.pem", &files.root.pem);
        let server = files.root.server();
        files.write("tls.crt", &server.pem);
        files.write("tls.key", &server.key_pem);
        files
    }

    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    pub(crate) fn remove(&self, name: &str) {
        std::fs::remove_file(self.path(name)).unwrap();
    }

    pub(crate) fn arguments(&self) -> Vec<String> {
        arguments(self.dir.path())
    }

    pub(crate) async fn start(&self, more: &[&str]) -> Result<Standalone, Error> {
        let given = more.iter().map(|argument| (*argument).to_owned());
        let all = std::iter::once("autoregistration".to_owned())
            .chain(self.arguments())
            .chain(given);
        let mut args = CommandLine::try_parse_from(all).unwrap().args;
        Standalone::start(args.standalone.take().unwrap(), args).await
    }
}

impl Lab {
    pub(crate) async fn start() -> Self {
        let files = Files::new();
        let standalone = files.start(&["--restore-window", "0s"]).await.unwrap();
        Self { files, standalone }
    }

    /// A connection on which a VM can register.
    pub(crate) async fn channel(&self) -> Channel {
        let leaf = self.files.root.vm();
        let addr = self.standalone.addresses.registration;
        let channel = vm::channel(addr, AUTOREGISTRATION, &self.files.root, Some(&leaf));
        channel.await.unwrap()
    }

    /// Waits until the view is as it should be.
    pub(crate) async fn view(
        &self,
        what: &str,
        mut wanted: impl FnMut(&View) -> bool,
    ) -> Arc<View> {
        let mut views = self.standalone.view.clone();
        let found = tokio::time::timeout(DEADLINE, views.wait_for(|view| wanted(view))).await;
        let Ok(found) = found else {
            panic!("not {what} in time: {:#?}", self.standalone.view.borrow());
        };
        Arc::clone(&found.unwrap())
    }
}

fn arguments(dir: &Path) -> Vec<String> {
    let path = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    let mut arguments = vec![
        "--standalone".to_owned(),
        path("manifests"),
        "--trust-anchors".to_owned(),
        path("anchors.pem"),
        "--tls-cert".to_owned(),
        path("tls.crt"),
        "--tls-key".to_owned(),
        path("tls.key"),
    ];
    for listener in ["registration", "destination", "policy", "admin"] {
        arguments.push(format!("--{listener}-listen"));
        arguments.push("127.0.0.1:0".to_owned());
    }
    arguments
}
