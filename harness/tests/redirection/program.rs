//! The real program, as an operator types it, in a namespace.

use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

use crate::netns::Namespace;
use crate::setup::PROXY;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_linkerd-proxy-harness");

/// A host with a configuration and a run directory of its own.
pub(crate) struct Host {
    pub(crate) vm: Namespace,
    pub(crate) dir: TempDir,
}

/// What one call came to.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Host {
    pub(crate) fn new() -> Self {
        Self::with(&serde_json::json!({}))
    }

    /// With these keys beside those that are required.
    pub(crate) fn with(keys: &serde_json::Value) -> Self {
        let mut config = serde_json::json!({
            "WorkloadGroup": { "Name": "training-vm", "Namespace": "training" },
            "Control": { "Address": "10.77.0.2:8081", "ServerId": "autoregistration.test" },
            "ProxyUserID": PROXY,
        });
        for (key, value) in keys.as_object().unwrap() {
            config[key] = value.clone();
        }
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("config"), config.to_string()).unwrap();
        Self {
            vm: Namespace::new("vm"),
            dir,
        }
    }

    /// The words of a call; may be put after others that change who calls or what he finds.
    pub(crate) fn words(&self, args: &str) -> Vec<String> {
        let config = self.dir.path().join("config").display().to_string();
        [PROGRAM.to_owned(), "--config".to_owned(), config]
            .into_iter()
            .chain(args.split(' ').map(str::to_owned))
            .collect()
    }

    /// A call that is to be started, in the namespace.
    pub(crate) fn command(&self, words: &[String]) -> Command {
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", self.vm.name()])
            .args(words)
            .env("RUNTIME_DIRECTORY", self.dir.path().join("run"))
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, args: &str) -> Said {
        self.command(&self.words(args)).output().unwrap().into()
    }

    pub(crate) fn redirects(&self) -> bool {
        let rules = self.vm.rules("nft");
        rules.contains("-j PROXY_INIT_OUTPUT") && rules.contains("-j PROXY_INIT_REDIRECT")
    }

    /// Waits until it does, or until it does not.
    pub(crate) fn until_redirects(&self, wanted: bool) {
        until(&format!("redirects: {wanted}"), || {
            self.redirects() == wanted
        });
    }
}

pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !condition() {
        assert!(std::time::Instant::now() < deadline, "never {what}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

impl Said {
    pub(crate) fn is(&self, code: i32, stdout: &str, stderr: &str) {
        assert!(
            self.code == Some(code) && self.stdout.contains(stdout) && self.stderr.contains(stderr),
            "wanted {code}, `{stdout}` and `{stderr}`, but {self:#?}"
        );
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            code: output.status.code(),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }
}
