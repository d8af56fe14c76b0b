//! The walk-through on a lab, then everything that can happen to a meshed VM: stop, kill, reboot, power cut.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lab::capture::Capture;
use lab::host::Host as _;
use lab::lab::Lab;
use lab::seen::{TO_APP, TO_VM};
use lab::story::Story;
use lab::walkthrough::{self, PEER, Silent, VM, walk};
use lab::{docker, net, rules, seen};

/// A path that nobody on the way may read.
const SECRET: &str = "a-path-that-nobody-on-the-way-may-read";
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn a_vm_is_meshed_by_the_walk_through_and_stays_so() -> Result<()> {
    let mut story = Story::begin(env!("CARGO_BIN_EXE_lab"))?;

    story.then("the peer joins with the walk-through's steps", |lab| {
        walk(lab, &PEER.join(&lab.package_name()?), &mut Silent)
    })?;
    story.then(
        "a container with a published port serves on the VM",
        |lab| walk(lab, &[walkthrough::workload()], &mut Silent),
    )?;
    let untouched = story.then("Docker's own rules are in place before ours", |lab| {
        let rules = rules::of(&lab.vm)?;
        ensure!(rules.contains("DOCKER"), "they are:\n{rules}");
        Ok(rules)
    })?;
    story.then("the VM joins with the walk-through's steps", |lab| {
        walk(lab, &VM.join(&lab.package_name()?), &mut Silent)
    })?;
    story.then(
        "the journal tells the walk-through's facts in its order",
        journal_tells_the_facts,
    )?;
    story.then(
        "the rules are those that operators know",
        rules_are_the_known_ones,
    )?;
    story.then(
        "connections of its own prove the redirection, in and out",
        redirection_is_proven,
    )?;
    story.then("traffic flows both ways, from Services, by name", |lab| {
        walk(lab, &[walkthrough::traffic()], &mut Silent)
    })?;
    let workload = story.then("autoregistration shows the workload as ready", |lab| {
        ready_workload(lab)
    })?;
    story.then(
        "the bytes between the hosts are TLS, and each proxy sees the other's SPIFFE ID",
        traffic_is_tls,
    )?;
    story.then(
        "a host without the mesh is served, and has no identity",
        |lab| {
            let answer = lab.outsider.get(&format!(
                "curl -sSi --max-time 5 http://{}:80/",
                net::TRAINING_VM
            ))?;
            ensure!(answer.contains("Welcome from training-vm"), "{answer}");
            ensure!(
                seen::client(&answer).is_empty(),
                "the application was told an identity:\n{answer}"
            );
            Ok(())
        },
    )?;

    story.then(
        "another's NAT that is faster is found out by the proof that follows a repair",
        another_nat_is_found_out,
    )?;
    story.then(
        "kill -9 of the daemon leaves the network working, and it comes back under the same name",
        |lab| {
            lab.vm
                .get("kill -9 $(systemctl show -p MainPID --value linkerd-proxy-harness)")?;
            lab.vm.eventually(
                &format!("curl -sS --max-time 5 {TO_APP}"),
                PATIENCE,
                |body| body == "Simple App v1\n",
            )?;
            meshed_again(lab, &workload)
        },
    )?;
    story.then(
        "autoregistration dies and comes back: both are meshed again, and nothing went in the clear",
        |lab| the_control_plane_comes_back(lab, &workload),
    )?;
    story.then(
        "a stop leaves the rules as they were found, byte for byte, and the network working",
        |lab| {
            lab.vm.get("systemctl stop linkerd-proxy-harness")?;
            rules::same(&untouched, &rules::of(&lab.vm)?)?;
            // Un-meshed, by way of the cluster's own forwarding.
            lab.vm.eventually(
                &format!("curl -sSi --max-time 5 {TO_APP}"),
                PATIENCE,
                |answer| answer.contains("Simple App v1") && seen::client(answer).is_empty(),
            )?;
            lab.outsider.eventually(
                &format!("curl -sS --max-time 5 {TO_VM}"),
                PATIENCE,
                |body| body == "Welcome from training-vm\n",
            )?;
            Ok(())
        },
    )?;
    story.then(
        "the same request is seen on the wire now: the capture can tell",
        |lab| {
            let capture = capture(lab)?;
            lab.vm.get(&format!(
                "curl -sS --max-time 5 http://{}/{SECRET}",
                net::PEER
            ))?;
            ensure!(capture.finish()?.shows(SECRET), "it is not");
            Ok(())
        },
    )?;
    story.then(
        "after a start it is meshed again under the same name",
        |lab| {
            lab.vm.get("systemctl start linkerd-proxy-harness")?;
            meshed_again(lab, &workload)
        },
    )?;
    story.then("cleanup needs no memory: it removes the rules of a daemon that is dead", |lab| {
        lab.vm.get("systemctl kill -s KILL linkerd-proxy-harness; systemctl stop linkerd-proxy-harness")?;
        lab.vm.get("linkerd-proxy-harness cleanup")?;
        rules::same(&untouched, &rules::of(&lab.vm)?)?;
        lab.vm.get("systemctl start linkerd-proxy-harness")?;
        meshed_again(lab, &workload)
    })?;
    story.then("that stop took the workload out of the mesh", |lab| {
        says_goodbye(lab, &workload, "Remove")
    })?;
    story.then("it reboots", |lab| lab.vm.reboot(&lab.net))?;
    story.then("at the reboot it said that it comes back", |lab| {
        says_goodbye(lab, &workload, "Reboot")
    })?;
    story.then("the container is back after the reboot", |lab| {
        docker::wait(&lab.vm)
    })?;
    story.then(
        "after the reboot it is meshed by itself, under the same name",
        |lab| meshed_again(lab, &workload),
    )?;
    story.then("it loses its power and boots again", |lab| {
        lab.vm.power_cycle(&lab.net)
    })?;
    story.then("the container is back after the power cut", |lab| {
        docker::wait(&lab.vm)
    })?;
    story.then(
        "after the power cut it is meshed by itself, under the same name",
        |lab| meshed_again(lab, &workload),
    )?;
    Ok(())
}

fn journal_tells_the_facts(lab: &mut Lab) -> Result<()> {
    let journal = lab
        .vm
        .get("journalctl -u linkerd-proxy-harness --no-pager -o cat")?;
    let facts = [
        "127.0.0.1:4192",
        &VM.spiffe_id(),
        "linkerd-autoregistration.linkerd.svc.cluster.local",
        ":4191",
        "0.0.0.0:4143",
        "127.0.0.1:4140",
        "training.external.identity.linkerd.cluster.local",
        "linkerd-dst-headless.linkerd.svc.cluster.local",
        "Certified identity",
    ];
    let mut rest = journal.as_str();
    for fact in facts {
        let (_, after) = rest
            .split_once(fact)
            .with_context(|| format!("`{fact}` is missing or too early in:\n{journal}"))?;
        rest = after;
    }
    Ok(())
}

fn rules_are_the_known_ones(lab: &mut Lab) -> Result<()> {
    let rules = lab.vm.get("iptables-save -t nat")?;
    for comment in [
        "proxy-init/install-proxy-init-prerouting",
        "proxy-init/install-proxy-init-output",
        "proxy-init/ignore-proxy-user-id",
        "proxy-init/ignore-loopback",
        "proxy-init/redirect-all-outgoing-to-proxy-port",
        "proxy-init/redirect-all-incoming-to-proxy-port",
    ] {
        ensure!(
            rules.contains(comment),
            "`{comment}` is missing in:\n{rules}"
        );
    }
    let first = rules
        .lines()
        .find(|line| line.starts_with("-A PREROUTING"))
        .unwrap_or_default();
    ensure!(
        first.contains("PROXY_INIT_REDIRECT"),
        "our jump comes after another: {first}"
    );
    Ok(())
}

const PROVEN: &str = "inbound IPv4, outbound IPv4";

fn redirection_is_proven(lab: &mut Lab) -> Result<()> {
    proof_is(lab, "proven", PROVEN)?;
    let metrics = lab.vm.get("curl -sSf http://127.0.0.1:4192/metrics")?;
    for direction in ["inbound", "outbound"] {
        let line = format!(
            "harness_redirect_proof{{direction=\"{direction}\",family=\"ipv4\",outcome=\"proven\"}} 1"
        );
        ensure!(metrics.contains(&line), "{line} is missing in:\n{metrics}");
    }
    let by_hand = lab.vm.get("linkerd-proxy-harness prove")?;
    ensure!(by_hand.lines().count() == 2, "{by_hand}");
    let links = lab
        .vm
        .get("ip -o link; ls /run/netns 2>/dev/null || true")?;
    ensure!(!links.contains("proof-"), "a link is left:\n{links}");
    // The proxy has nothing to say of connections that come and go.
    let journal = lab
        .vm
        .get("journalctl -u 'linkerd-proxy-harness*' -o cat --no-pager")?;
    for port in [":1404", "198.18.", "198.19."] {
        ensure!(
            !journal.contains(port),
            "{port} is in the journal:\n{journal}"
        );
    }
    let failed = lab
        .vm
        .get("systemctl list-units --failed --no-legend 'linkerd-*'")?;
    ensure!(failed.is_empty(), "{failed}");
    Ok(())
}

/// What `harnessctl status` says of the last proof.
fn proof_is(lab: &Lab, outcome: &str, words: &str) -> Result<()> {
    lab.vm
        .eventually("harnessctl status", Duration::from_secs(120), |screen| {
            let line = screen.lines().find(|line| line.starts_with("proof "));
            line.is_some_and(|line| line.contains(outcome) && line.contains(words))
        })?;
    Ok(())
}

fn another_nat_is_found_out(lab: &mut Lab) -> Result<()> {
    lab.vm.get(
        "nft 'table ip other { chain out { type nat hook output priority -110; tcp dport 1404 dnat to 10.77.0.5:9; }; }'; \
         iptables -t nat -D OUTPUT 1",
    )?;
    proof_is(
        lab,
        "failed",
        "was redirected to 10.77.0.5:9 and not to the proxy's port 4140",
    )?;
    let screen = lab.vm.get("harnessctl status")?;
    ensure!(
        screen.contains("NotProven") && screen.contains("training/training-vm: meshed"),
        "{screen}"
    );
    // The repair makes the next proof come at once.
    lab.vm
        .get("nft delete table ip other; iptables -t nat -D OUTPUT 1")?;
    proof_is(lab, "proven", PROVEN)
}

/// The name of the workload of group `training-vm`, once it is ready.
fn ready_workload(lab: &Lab) -> Result<String> {
    lab::poll::until("a ready workload of training-vm", PATIENCE, || {
        let workloads = lab.control.workloads()?;
        let ours = workloads
            .iter()
            .find(|workload| workload.namespace == "training")
            .context("there is none")?;
        ensure!(ours.ready, "`{}` is not ready", ours.name);
        ensure!(
            ours.name.starts_with("training-vm-"),
            "its name is `{}`",
            ours.name
        );
        Ok(ours.name.clone())
    })
}

/// What the workload said when it left last: whether it is kept.
fn says_goodbye(lab: &Lab, workload: &str, mode: &str) -> Result<()> {
    let log = lab.control.log();
    let mut left = log
        .lines()
        .filter(|line| line.contains("workload left") && line.contains(workload));
    let last = left.next_back().context("it never said goodbye")?;
    ensure!(last.contains(&format!("mode={mode}")), "{last}");
    Ok(())
}

fn meshed_again(lab: &Lab, workload: &str) -> Result<()> {
    let name = ready_workload(lab)?;
    ensure!(name == workload, "it was `{workload}` and is `{name}`");
    seen::both_ways(lab)
}

fn traffic_is_tls(lab: &mut Lab) -> Result<()> {
    let capture = capture(lab)?;
    // New connections, so that their first messages are on the wire too.
    lab.vm.get("systemctl restart linkerd-proxy-harness")?;
    ready_workload(lab)?;
    let from_peer = format!("curl -sSi --max-time 5 {TO_VM}/{SECRET}");
    let to_vm = lab
        .peer
        .eventually(&from_peer, PATIENCE, |answer| {
            !seen::client(answer).is_empty()
        })?
        .stdout;
    let from_vm = format!("curl -sSi --max-time 5 {TO_APP}/{SECRET}");
    let to_app = lab
        .vm
        .eventually(&from_vm, PATIENCE, |answer| {
            !seen::client(answer).is_empty()
        })?
        .stdout;
    let wire = capture.finish()?;

    ensure!(
        seen::client(&to_vm) == PEER.spiffe_id(),
        "the VM's proxy saw another identity:\n{to_vm}"
    );
    ensure!(
        seen::client(&to_app) == VM.spiffe_id(),
        "the peer's proxy saw another identity:\n{to_app}"
    );
    ensure!(
        !wire.segments().is_empty(),
        "nothing passed between the hosts"
    );
    for text in [SECRET, "Welcome from training-vm", "Simple App v1"] {
        ensure!(!wire.shows(text), "`{text}` passed in the clear");
    }
    let hellos = wire.client_hellos();
    for name in ["training-vm-", "simple-app-v1-"] {
        ensure!(
            hellos
                .iter()
                .any(|hello| hello.server_name.starts_with(name)),
            "no TLS to `{name}…`: {hellos:?}"
        );
    }
    server_identity_is_seen(lab)
}

/// A control plane that answers before its workloads are back would tell their peers that nobody is there, which means
/// plaintext.
fn the_control_plane_comes_back(lab: &mut Lab, workload: &str) -> Result<()> {
    let capture = capture(lab)?;
    lab.control.kill_service()?;
    lab.control.start_service()?;
    let requests = format!(
        "for _ in $(seq 20); do curl -s --max-time 1 {TO_VM}/{SECRET} http://{}/{SECRET} || true; sleep 0.1; done",
        net::TRAINING_VM
    );
    lab.peer.get(&requests)?;
    meshed_again(lab, workload)?;
    let wire = capture.finish()?;
    ensure!(
        !wire.segments().is_empty(),
        "nothing passed between the hosts"
    );
    ensure!(!wire.shows(SECRET), "`{SECRET}` passed in the clear");
    Ok(())
}

/// Everything between the two meshed hosts.
fn capture(lab: &Lab) -> Result<Capture> {
    let between = format!("tcp and host {} and host {}", net::TRAINING_VM, net::PEER);
    Capture::start(&lab.run, &lab.net, &between)
}

/// Each proxy's metrics name the other as the server of its outbound connections.
fn server_identity_is_seen(lab: &Lab) -> Result<()> {
    for (host, other) in [(&lab.vm, PEER.spiffe_id()), (&lab.peer, VM.spiffe_id())] {
        let metrics = host.get("curl -sSf http://127.0.0.1:4191/metrics")?;
        let (server, client) = (
            format!("server_id=\"{other}\""),
            format!("client_id=\"{other}\""),
        );
        ensure!(
            metrics.contains(&server),
            "{} has no {server} in its metrics",
            host.name()
        );
        ensure!(
            metrics.contains(&client),
            "{} has no {client} in its metrics",
            host.name()
        );
    }
    Ok(())
}
