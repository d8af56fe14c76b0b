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
            lab.control.probe_often()?;
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
    story.then(
        "a program that the group wants run waits for the operator's leave, and status says what to type",
        |lab| {
            let program = "usr/local/bin/check-app";
            lab.vm.write(program, PROGRAM)?;
            lab.vm.get(&format!("chmod 755 /{program}"))?;
            lab.control.edit("training-vm.yaml", |text| {
                text.replacen("  probes:\n", &format!("  probes:\n{PROBES}"), 1)
            })?;
            lab.vm.eventually("harnessctl status", PATIENCE, |status| {
                status.contains("ProbeNotAllowed") && status.contains(ALLOW.0) && status.contains(ALLOW.1)
            })?;
            lab.vm.get(&format!("! test -e {RAN}"))?;
            is_ready(lab, false)
        },
    )?;
    story.then(
        "allowed, it runs in the unit's sandbox as the proxy's user, with no right that the daemon has",
        |lab| {
            lab.vm.get(&format!("{} && {}", ALLOW.0, ALLOW.1))?;
            is_ready(lab, true)?;
            let status = lab.vm.get("harnessctl status")?;
            for words in ["connect to 127.0.0.1:80: connected", "success: proxyharness, sealed"] {
                ensure!(status.contains(words), "`{words}` is missing in:\n{status}");
            }
            Ok(())
        },
    )?;
    story.then("what it says when it fails is told to the cluster", |lab| {
        lab.vm.get("touch /run/app-is-broken")?;
        is_ready(lab, false)?;
        let told = lab
            .control
            .admin("/apis/workload.linkerd.io/v1beta1/externalworkloads")?;
        ensure!(told.contains("exit status: 3: the app is broken"), "{told}");
        lab.vm.get("rm /run/app-is-broken")?;
        is_ready(lab, true)
    })?;
    Ok(())
}

/// Two probes beside the one that the group has.
const PROBES: &str = "  - tcpSocket: { port: 80 }
    periodSeconds: 1
  - exec: { command: [/usr/local/bin/check-app] }
    periodSeconds: 1
    failureThreshold: 1
";

/// Where the program leaves a word.
const RAN: &str = "/run/linkerd-proxy-harness/ran";

/// Looks at what it may do, and answers for the application.
const PROGRAM: &str = "#!/bin/sh
touch /run/linkerd-proxy-harness/ran
[ ! -e /run/app-is-broken ] || { echo 'the app is broken'; exit 3; }
for set in CapInh CapPrm CapEff CapAmb; do
    grep -q \"^$set:[[:space:]]*0*$\" /proc/self/status || { echo \"it has $set\"; exit 1; }
done
grep -q '^NoNewPrivs:[[:space:]]*1$' /proc/self/status || { echo 'it may get privileges'; exit 1; }
for dir in /tmp /run/lock /var/lib /var/lib/linkerd/bin; do
    ! touch $dir/there 2>/dev/null || { echo \"it writes into $dir\"; exit 1; }
done
[ ! -e /proc/1 ] || { echo 'it sees process 1'; exit 1; }
echo \"$(id -un), sealed\"
";

/// What the message tells to type.
const ALLOW: (&str, &str) = (
    "harnessctl set-config --health-allow-exec-probes=true",
    "systemctl restart linkerd-proxy-harness",
);

/// Waits until autoregistration says so of the VM's workload.
fn is_ready(lab: &Lab, ready: bool) -> Result<()> {
    lab::poll::until("the workload's readiness", PATIENCE, || {
        let workloads = lab.control.workloads()?;
        let ours = workloads
            .iter()
            .find(|workload| workload.namespace == VM.namespace)
            .context("there is none")?;
        ensure!(ours.ready == ready, "ready: {}", ours.ready);
        Ok(())
    })
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
