//! Runs the program against a directory of its own, and a daemon that says what the test wants.

#![expect(clippy::unwrap_used, reason = "test support")]

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::thread;

use linkerd_harness_core::status::{Component, State, Status};
use tempfile::TempDir;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_harnessctl");

/// The flags of the walk-through.
pub(crate) const WALK_THROUGH: [&str; 5] = [
    "set-config",
    "--workload-group-name=training-vm",
    "--workload-group-namespace=training",
    "--control-plane-address=linkerd-autoregistration.linkerd.svc.cluster.local.:8081",
    "--control-plane-identity=linkerd-autoregistration.linkerd.serviceaccount.identity.linkerd.cluster.local",
];

/// A directory with, perhaps, a configuration in it.
pub(crate) struct Host {
    pub(crate) directory: TempDir,
}

/// What one call came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Result {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Host {
    pub(crate) fn empty() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self { directory }
    }

    /// With the walk-through's configuration.
    pub(crate) fn configured() -> Self {
        let host = Self::empty();
        assert_eq!(host.run(&WALK_THROUGH).code, 0);
        host
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("linkerd-proxy-harness.cfg")
    }

    pub(crate) fn write(&self, content: impl AsRef<[u8]>) {
        fs::write(self.path(), content).unwrap();
    }

    pub(crate) fn content(&self) -> String {
        fs::read_to_string(self.path()).unwrap()
    }

    /// Every name in the directory.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.directory.path()).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.arg("--config").arg(self.path()).args(arguments);
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Result {
        result(self.command(arguments).output().unwrap())
    }
}

pub(crate) fn result(output: Output) -> Result {
    Result {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A daemon that gives each answer once and the last one for ever.
pub(crate) fn fake_daemon(answers: Vec<String>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // Ends with the test's process.
    thread::spawn(move || {
        for (index, stream) in listener.incoming().enumerate() {
            let mut stream = stream.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut part = [0; 1024];
                let read = stream.read(&mut part).unwrap();
                assert_ne!(read, 0, "the request ends too early");
                request.extend_from_slice(&part[..read]);
            }
            assert!(
                request.starts_with(b"GET /status HTTP/1.")
                    || request.starts_with(b"GET /redirect HTTP/1.")
            );
            let answer = &answers[index.min(answers.len() - 1)];
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    address
}

/// A configured host whose daemon answers so.
pub(crate) fn host_with_daemon(answers: Vec<String>) -> Host {
    let host = Host::configured();
    let flag = format!("--admin-address={}", fake_daemon(answers));
    assert_eq!(host.run(&["set-config", &flag]).code, 0);
    host
}

/// An address where nothing listens: it was bound a moment ago and is not any more.
pub(crate) fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}

pub(crate) fn ok(status: &Status) -> String {
    respond(&serde_json::to_string(status).unwrap())
}

pub(crate) fn respond(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n{body}")
}

pub(crate) fn mk_status(registration: State, reason: &str, message: &str) -> Status {
    let part = |state, reason: &str, message: &str| Component {
        state,
        reason: reason.to_owned(),
        message: message.to_owned(),
        since: "2026-11-23T08:00:00Z".to_owned(),
    };
    let fine = |message| part(State::Ok, "Fine", message);
    Status {
        version: "1.2.3".to_owned(),
        group: "training/training-vm".to_owned(),
        meshed: registration == State::Ok,
        identity: fine("spiffe://root.linkerd.cluster.local/proxy-harness"),
        registration: part(registration, reason, message),
        proxy: fine(""),
        redirection: fine(""),
        health: fine(""),
        probes: Vec::new(),
        proof: None,
    }
}
