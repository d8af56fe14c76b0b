//! What the daemon does while a part of its world is not there yet: it waits, says for what, and goes on by itself.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lab::host::Host as _;
use lab::lab::Lab;
use lab::story::Story;
use lab::walkthrough::{self, PEER, Silent, VM, walk};
use lab::{docker, rules};

const PATIENCE: Duration = Duration::from_secs(60);
const STATUS: &str = "curl -sS http://127.0.0.1:4192/status";

#[test]
fn a_daemon_that_is_started_first_waits_for_everything_and_says_so() -> Result<()> {
    let mut story = Story::begin(env!("CARGO_BIN_EXE_lab"))?;

    story.then(
        "package and configuration are in place, SPIRE is not running",
        |lab| {
            let package = lab.package_name()?;
            walk(lab, &[VM.install(&package), VM.configure()], &mut Silent)
        },
    )?;
    story.then(
        "the daemon starts, and says that it waits for SPIRE's socket",
        |lab| {
            lab.vm.get("systemctl start linkerd-proxy-harness")?;
            ensure!(
                lab.vm.get("systemctl is-active linkerd-proxy-harness")? == "active",
                "systemd does not think so"
            );
            waits_for(lab, "identity", "SocketMissing")
        },
    )?;
    story.then(
        "the host keeps its network: nothing is redirected, no proxy runs",
        |lab| {
            let rules = rules::of(&lab.vm)?;
            ensure!(
                !rules.contains("-j PROXY_INIT"),
                "a jump is in place:\n{rules}"
            );
            lab.vm.get("! pgrep linkerd2-proxy")?;
            Ok(())
        },
    )?;
    story.then("SPIRE comes up; now it waits for an entry", |lab| {
        walk(lab, &[VM.spire()], &mut Silent)?;
        waits_for(lab, "identity", "NoEntry")
    })?;
    story.then(
        "the entry is made; it goes on by itself to a certified proxy",
        |lab| {
            walk(lab, &[VM.entry()], &mut Silent)?;
            lab.vm.eventually(
                "journalctl -u linkerd-proxy-harness --no-pager -o cat",
                PATIENCE,
                |journal| journal.contains("Certified identity"),
            )?;
            Ok(())
        },
    )?;
    story.then(
        "the probe fails while there is no workload, and status says what it got",
        |lab| {
            let answer = lab.vm.eventually("harnessctl status", PATIENCE, |status| {
                status.contains("/ready")
            })?;
            ensure!(answer.stdout.contains("training"), "{answer}");
            Ok(())
        },
    )?;
    story.then(
        "Docker starts after the harness; its published port is meshed",
        |lab| {
            docker::start(&lab.vm)?;
            walk(lab, &PEER.join(&lab.package_name()?), &mut Silent)?;
            walk(lab, &[walkthrough::traffic()], &mut Silent)
        },
    )?;
    story.then(
        "Docker restarts under the harness; traffic goes on",
        |lab| {
            lab.vm.get("systemctl restart docker")?;
            docker::wait(&lab.vm)?;
            walk(lab, &[walkthrough::traffic()], &mut Silent)
        },
    )?;
    Ok(())
}

/// Waits until `part` is in the state `waiting` for `reason`, which systemd shows too.
fn waits_for(lab: &Lab, part: &str, reason: &str) -> Result<()> {
    lab::poll::until(&format!("{part} to wait for {reason}"), PATIENCE, || {
        let status: serde_json::Value =
            serde_json::from_str(&lab.vm.get(STATUS)?).context("read /status")?;
        let part = status.get(part).context("it is not in /status")?;
        let (state, said) = (part.get("state"), part.get("reason"));
        ensure!(
            state.is_some_and(|state| state == "waiting")
                && said.is_some_and(|said| said == reason),
            "{part}"
        );
        Ok(())
    })?;
    let shown = lab
        .vm
        .get("systemctl show -p StatusText --value linkerd-proxy-harness")?;
    ensure!(!shown.is_empty(), "systemd has no status text");
    Ok(())
}
