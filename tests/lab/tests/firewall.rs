//! A meshed VM whose firewall others change: Docker, firewalld, and people who type. Our rules come back and stay ahead,
//! theirs stay as they were, containers and SSH notice nothing.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lab::host::Host as _;
use lab::lab::Lab;
use lab::ssh::{self, Session};
use lab::story::Story;
use lab::walkthrough::{self, PEER, Silent, VM, walk};
use lab::{docker, net, poll, rules, seen};

/// Longer than two of the daemon's sweeps, on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where meshed peers connect to, without any redirection.
const MESH: u16 = 4143;

/// What somebody does to the host's firewall.
struct Deed {
    /// What they type.
    typed: &'static str,
    /// What they type next to get their own rules back, which were lost with it.
    then: &'static str,
    /// Rules of ours are gone by it.
    ours_suffer: bool,
}

const fn deed(typed: &'static str, then: &'static str, ours_suffer: bool) -> Deed {
    Deed {
        typed,
        then,
        ours_suffer,
    }
}

impl Deed {
    fn survived(&self) -> String {
        format!(
            "`{}`: rules are in place again, and all is well",
            self.typed
        )
    }
}

/// Docker makes its rules when it starts, and when a firewalld that ran before it tells that it was reloaded.
/// More often than systemd lets a service start in ten seconds.
const DOCKER: &str = "systemctl reset-failed docker && systemctl restart docker";

/// Our jump behind all others, Docker's too.
const MOVE_JUMP: &str = "iptables -t nat -D PREROUTING 1 && iptables -t nat -A PREROUTING -m addrtype --dst-type LOCAL \
    -m comment --comment proxy-init/install-proxy-init-prerouting -j PROXY_INIT_REDIRECT";

/// Not more than four that take rules of ours in a row: five within a minute are a fight, and repairs are far apart then.
const BEFORE_FIREWALLD: [Deed; 4] = [
    deed("iptables -t nat -F", DOCKER, true),
    deed("nft flush ruleset", DOCKER, true),
    deed("iptables -t nat -D PROXY_INIT_OUTPUT 2", "", true),
    // It flushes what all others put into iptables.
    deed(
        "systemctl start firewalld && firewall-cmd --state",
        DOCKER,
        true,
    ),
];
/// A firewalld that ran when Docker started lets it make its rules anew. At a reload and at a restart it flushes twice.
const WITH_FIREWALLD: [Deed; 5] = [
    deed("firewall-cmd --reload", "", true),
    deed(
        "systemctl restart firewalld && firewall-cmd --state",
        "",
        true,
    ),
    deed(MOVE_JUMP, "", true),
    deed(DOCKER, "", false),
    deed("systemctl stop firewalld", DOCKER, true),
];

#[test]
fn rules_outlive_docker_firewalld_and_flushes_and_leave_theirs_alone() -> Result<()> {
    let mut story = Story::begin(env!("CARGO_BIN_EXE_lab"))?;
    story.then("the VM has an SSH server, on a port of its own", |lab| {
        lab.control.probe_often()?;
        // What an operator with firewalld opens: SSH, as ever, and the mesh's port, as the README says.
        for port in [ssh::PORT, MESH] {
            lab.vm.get(&format!(
                "firewall-offline-cmd --quiet --add-port={port}/tcp"
            ))?;
        }
        ssh::serve(lab)
    })?;
    let mut session = story.then("an operator is logged in", |lab| Session::open(lab))?;
    story.then("the VM runs a container, and both hosts join", |lab| {
        let package = lab.package_name()?;
        walk(lab, &[walkthrough::workload()], &mut Silent)?;
        docker::start_neighbour(&lab.vm)?;
        walk(lab, &PEER.join(&package), &mut Silent)?;
        walk(lab, &VM.join(&package), &mut Silent)
    })?;
    let ours = story.then(
        "traffic is meshed both ways, and all else is as ever",
        |lab| {
            all_is_well(lab, &mut session)?;
            rules::ours(&lab.vm)
        },
    )?;
    for deed in &BEFORE_FIREWALLD {
        story.then(&deed.survived(), |lab| {
            survives(lab, deed, &ours, &mut session)
        })?;
    }
    story.then(
        "firewalld's and Docker's rules are the same, byte for byte, before a start and after a stop",
        theirs_stay_as_they_are,
    )?;
    story.then(
        "firewalld decides about the mesh's port, and about ports that are not redirected",
        firewalld_still_decides,
    )?;
    for deed in &WITH_FIREWALLD {
        story.then(&deed.survived(), |lab| {
            survives(lab, deed, &ours, &mut session)
        })?;
    }
    Ok(())
}

/// Does it, and waits until the host is as before.
fn survives(lab: &Lab, deed: &Deed, ours: &str, session: &mut Session) -> Result<()> {
    let before = repairs(lab)?;
    lab.vm.get(deed.typed)?;
    if !deed.then.is_empty() {
        lab.vm.get(deed.then)?;
    }
    poll::until("rules of ours", PATIENCE, || {
        rules::same(ours, &rules::ours(&lab.vm)?)?;
        rules::ours_come_first(&lab.vm)?;
        ensure!(
            !deed.ours_suffer || repairs(lab)? > before,
            "the daemon tells of no repair"
        );
        Ok(())
    })?;
    all_is_well(lab, session)
}

fn theirs_stay_as_they_are(lab: &mut Lab) -> Result<()> {
    lab.vm.get("systemctl stop linkerd-proxy-harness")?;
    let before = rules::of(&lab.vm)?;
    for theirs in ["inet firewalld", "-j DOCKER"] {
        ensure!(
            before.contains(theirs),
            "`{theirs}` is missing in:\n{before}"
        );
    }
    ensure!(rules::ours(&lab.vm)?.is_empty(), "there are rules of ours");
    lab.vm.get(
        "systemctl start linkerd-proxy-harness && harnessctl wait --for=meshed --timeout=60s",
    )?;
    seen::both_ways(lab)?;
    lab.vm.get("systemctl stop linkerd-proxy-harness")?;
    rules::same(&before, &rules::of(&lab.vm)?)?;
    lab.vm.get(
        "systemctl start linkerd-proxy-harness && harnessctl wait --for=meshed --timeout=60s",
    )?;
    Ok(())
}

/// What is redirected passes firewalld, whatever port it was for; what is not is firewalld's. A peer connects to the mesh's
/// port itself, which is not redirected.
fn firewalld_still_decides(lab: &mut Lab) -> Result<()> {
    lab.outsider.connects(net::TRAINING_VM, MESH)?;
    lab.vm
        .get(&format!("firewall-cmd --remove-port={MESH}/tcp"))?;
    ensure!(
        lab.outsider.connects(net::TRAINING_VM, MESH).is_err(),
        "the mesh's port is open, though firewalld closed it"
    );
    lab.vm.get(&format!("firewall-cmd --add-port={MESH}/tcp"))?;
    let closed = 9999;
    lab.vm.get(&format!(
        "systemd-run --quiet --unit=closed /opt/lab/bin/echo {closed} 'not for you'"
    ))?;
    let restart = |ports: &str| {
        lab.vm.get(&format!(
            "harnessctl set-config --ports-to-redirect={ports} && systemctl restart linkerd-proxy-harness && \
             harnessctl wait --for=meshed --timeout=60s"
        ))
    };
    restart("80")?;
    seen::both_ways(lab)?;
    ensure!(
        lab.outsider.connects(net::TRAINING_VM, closed).is_err(),
        "a port that is not redirected is open, though firewalld closed it"
    );
    restart("")?;
    Ok(())
}

/// How often the daemon put its rules right, as its metrics tell.
fn repairs(lab: &Lab) -> Result<u64> {
    let metrics = lab
        .vm
        .get("curl -sSf --max-time 5 http://127.0.0.1:4192/metrics")?;
    let repairs = metrics
        .lines()
        .find_map(|line| line.strip_prefix("harness_redirect_repairs_total "));
    repairs
        .context("no repairs in the metrics")?
        .parse()
        .context("read the number of repairs")
}

/// Meshed both ways, open to others, containers left alone, SSH as if nothing were there.
fn all_is_well(lab: &Lab, session: &mut Session) -> Result<()> {
    docker::wait(&lab.vm)?;
    seen::both_ways(lab).context("between meshed hosts")?;
    seen::meshed(
        &lab.outsider,
        &format!("http://{}:80", net::TRAINING_VM),
        "Welcome from training-vm",
        "",
    )
    .context("from a host without the mesh")?;
    containers_are_left_alone(lab)?;
    ssh_is_left_alone(lab, session)
}

fn containers_are_left_alone(lab: &Lab) -> Result<()> {
    let inside = docker::inside("training");
    let out = format!("{inside} curl -sSi --max-time 5 http://{}:80", net::PEER);
    let answer = lab
        .vm
        .get(&out)
        .context("from a container to the outside")?;
    ensure!(
        answer.contains("Simple App v1") && seen::client(&answer).is_empty(),
        "a container's own connection was meshed:\n{answer}"
    );
    let neighbour = docker::address(&lab.vm, "neighbour")?;
    let across = format!("{inside} curl -sSi --max-time 5 http://{neighbour}:80");
    let answer = lab.vm.get(&across).context("between two containers")?;
    ensure!(
        answer.contains("Hello from next door")
            && answer.contains(&docker::address(&lab.vm, "training")?)
            && seen::client(&answer).is_empty(),
        "a connection between two containers did not go straight:\n{answer}"
    );
    Ok(())
}

fn ssh_is_left_alone(lab: &Lab, session: &mut Session) -> Result<()> {
    session
        .lives("still here")
        .context("the open SSH session")?;
    let client = ssh::seen_client(lab).context("a new SSH session")?;
    ensure!(
        client == net::OUTSIDER,
        "the SSH server saw the client {client}: the proxy was between"
    );
    Ok(())
}
