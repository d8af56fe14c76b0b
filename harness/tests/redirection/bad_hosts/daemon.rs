//! A daemon on a host without a packet filter.

use std::process::{Child, Command, Stdio};

use super::command;
use crate::program::{Host, until};

#[test]
fn a_daemon_without_a_backend_says_so_and_takes_the_first_that_comes() {
    let host = Host::new();
    let later = "mkdir ../aside; mv *tables* ../aside; rm -f nft; \
         (until [ -e \"$T/../go\" ]; do sleep 0.02; done; mv ../aside/* .) & holder=$!";
    let daemon = command(
        &host,
        later,
        &[
            "env",
            &format!("STATE_DIRECTORY={}", host.dir.path().display()),
        ],
        "run",
    )
    .stderr(Stdio::from(
        std::fs::File::create(host.dir.path().join("log")).unwrap(),
    ))
    .spawn()
    .unwrap();
    let mut daemon = Daemon(daemon);
    let status = || {
        host.vm
            .run(&["sh", "-c", "curl -s 127.0.0.1:4192/status || true"], "")
    };
    until("reported", || status().contains("\"NoBackend\""));
    assert!(
        status().contains("no iptables program is installed"),
        "{}",
        status()
    );
    assert!(daemon.0.try_wait().unwrap().is_none(), "it keeps running");
    std::fs::write(host.dir.path().join("go"), "").unwrap();
    until("opened", || status().contains("\"NotWanted\""));
    let log = std::fs::read_to_string(host.dir.path().join("log")).unwrap();
    assert_eq!(log.matches("cannot redirect").count(), 1, "{log}");
}

/// Killed on drop, with what it started.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let pid = self.0.id().to_string();
        let children = Command::new("pkill")
            .args(["-KILL", "--parent", &pid])
            .status();
        assert!(children.is_ok() && self.0.kill().is_ok() && self.0.wait().is_ok());
    }
}
