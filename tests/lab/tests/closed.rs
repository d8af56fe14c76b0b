//! `FailurePolicy: closed` and `redirect apply --confirm` on a booted VM, with systemd, sshd and SPIRE as they are: nothing
//! goes around the mesh whatever dies, and the operator always gets in.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use lab::host::Host;
use lab::lab::Lab;
use lab::pki::TRUST_DOMAIN;
use lab::spire::BIN;
use lab::ssh::{self, Session};
use lab::story::Story;
use lab::walkthrough::{Silent, VM, walk};
use lab::{net, poll, rules};

/// Longer than systemd, SPIRE and a probe take together, on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

const UNIT: &str = "linkerd-proxy-harness";

/// The VM's workload.
const WORKLOAD: &str = "[Service]
ExecStart=/opt/lab/bin/echo 80 'Welcome from training-vm'
[Install]
WantedBy=multi-user.target
";

/// A unit that must not run un-meshed: it writes down how its request to another host ended, as curl's exit code.
const WITNESS: &str = "[Unit]
After=linkerd-proxy-harness.service
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'curl -sS --max-time 5 http://10.77.0.5:80; echo $? > /var/lib/witness'
[Install]
WantedBy=multi-user.target
";

/// So that a daemon that hangs costs the test no half minute. The last line is a witness between `prepare` and the daemon,
/// which lays the rules itself so soon that a witness after it cannot tell who did.
const OURS: &str = "[Service]
WatchdogSec=3
TimeoutAbortSec=2
ExecStartPre=+/bin/sh -c 'curl -sS --max-time 5 http://10.77.0.5:80; echo $$? > /var/lib/prepared'
";

/// Root's sessions too, which are left alone unless somebody else is named.
const LOGOUT: &str = "[Login]\nKillUserProcesses=yes\nKillExcludeUsers=nobody\n";

/// Codes of curl.
const DONE: i32 = 0;
const REFUSED: i32 = 7;

#[test]
fn nothing_gets_around_a_closed_host_and_the_operator_gets_in() -> Result<()> {
    let mut story = Story::begin(env!("CARGO_BIN_EXE_lab"))?;
    story.then(
        "a workload runs, SSH has a port of its own, nothing is redirected",
        |lab| {
            lab.control.probe_often()?;
            ssh::serve(lab)?;
            for (unit, text) in [("workload", WORKLOAD), ("witness", WITNESS)] {
                lab.vm
                    .write(&format!("etc/systemd/system/{unit}.service"), text)?;
            }
            lab.vm.write(
                &format!("etc/systemd/system/{UNIT}.service.d/lab.conf"),
                OURS,
            )?;
            lab.vm.get(
                "systemctl enable --now --quiet workload && systemctl enable --quiet ssh witness",
            )?;
            let package = lab.package_name()?;
            walk(lab, &[VM.install(&package), VM.configure()], &mut Silent)?;
            lab.vm
                .get("harnessctl set-config --failure-policy=closed && systemctl start witness")?;
            is_open(lab)?;
            witnessed(lab, "witness", DONE)
        },
    )?;
    story.then(
        "redirect apply --confirm outlives its SSH session, and is taken back when nobody confirms",
        is_taken_back,
    )?;
    story.then(
        "rules that were confirmed from a new SSH session stay",
        stays_confirmed,
    )?;
    story.then(
        "started without SPIRE it is closed: refused both ways, open for SSH",
        |lab| {
            lab.vm.get(&format!("systemctl start {UNIT}"))?;
            held_closed(lab)?;
            witnessed(lab, "prepared", REFUSED)
        },
    )?;
    story.then(
        "a port that sshd opens now is left alone in a moment",
        |lab| {
            let port = 2022;
            ensure!(
                lab.outsider.connects(net::TRAINING_VM, port).is_err(),
                "it is open already"
            );
            lab.vm.get(&format!(
                "systemd-run --quiet --unit=second-sshd /usr/sbin/sshd -D -p {port}"
            ))?;
            poll::until("the new port", Duration::from_secs(15), || {
                lab.outsider.connects(net::TRAINING_VM, port)
            })?;
            refused(lab)
        },
    )?;
    story.then(
        "a SPIRE server is found through a closed host, with nobody's help",
        |lab| {
            spire_on_the_peer(lab)?;
            lab.vm.get("systemctl enable --now --quiet spire-agent")?;
            meshed(lab)
        },
    )?;
    story.then(
        "kill -9 of the daemon lets nothing around the proxy, and says how to open the host",
        |lab| {
            nobody_gets_around(lab, || {
                let since = now(lab)?;
                daemon_dies(lab, "kill -9")?;
                kept(lab, &since)
            })?;
            meshed(lab)
        },
    )?;
    story.then(
        "a daemon that hangs is ended by systemd, and lets nothing around the proxy",
        |lab| {
            nobody_gets_around(lab, || {
                let since = now(lab)?;
                daemon_dies(lab, "kill -STOP")?;
                kept(lab, &since)
            })
        },
    )?;
    story.then(
        "crashed with a broken configuration it stays closed until a cleanup",
        |lab| {
            lab.vm.get("systemctl disable --now --quiet spire-agent")?;
            crash_for_good(lab)?;
            lab.vm.get("linkerd-proxy-harness cleanup")?;
            is_open(lab)
        },
    )?;
    story.then("a clean stop opens it", |lab| {
        repair(lab)?;
        lab.vm.get(&format!("systemctl start {UNIT}"))?;
        held_closed(lab)?;
        lab.vm.get(&format!("systemctl stop {UNIT}"))?;
        is_open(lab)
    })?;
    story.then(
        "so does a stop while systemd waits to start it again",
        |lab| {
            lab.vm.get(&format!("systemctl start {UNIT}"))?;
            held_closed(lab)?;
            lab.vm.get(&format!("kill -9 {}", main_pid(lab)?))?;
            lab.vm.eventually(
                &format!("systemctl show -p SubState --value {UNIT}"),
                PATIENCE,
                |state| state.trim() == "auto-restart",
            )?;
            refused(lab)?;
            lab.vm.get(&format!("systemctl stop {UNIT}"))?;
            poll::until("the host to be open", PATIENCE, || is_open(lab))
        },
    )?;
    story.then(
        "a policy that becomes open meanwhile holds from the next start on",
        |lab| {
            lab.vm.get(&format!("systemctl start {UNIT}"))?;
            held_closed(lab)?;
            lab.vm.get("harnessctl set-config --failure-policy=open")?;
            let since = now(lab)?;
            daemon_dies(lab, "kill -9")?;
            kept(lab, &since)?;
            is_open(lab)?;
            let since = now(lab)?;
            daemon_dies(lab, "kill -9")?;
            is_open(lab)?;
            ensure!(advice(lab, &since)? == 0, "it spoke of kept rules");
            Ok(())
        },
    )?;
    story.then(
        "after a reboot without SPIRE, what starts after it is never un-meshed",
        |lab| {
            lab.vm.get(&format!(
                "harnessctl set-config --failure-policy=closed && systemctl restart {UNIT}"
            ))?;
            lab.vm.get("rm /var/lib/witness /var/lib/prepared")?;
            lab.vm.reboot(&lab.net)?;
            witnessed(lab, "prepared", REFUSED)?;
            witnessed(lab, "witness", REFUSED)?;
            held_closed(lab)
        },
    )?;
    story.then("apt remove after a crash leaves nothing of ours", |lab| {
        crash_for_good(lab)?;
        lab.vm.get(&format!(
            "DEBIAN_FRONTEND=noninteractive apt-get -y remove {UNIT}"
        ))?;
        is_open(lab)
    })?;
    Ok(())
}

/// The server on another host, since what goes over loopback passes in any case; the agent in the VM, not running yet.
fn spire_on_the_peer(lab: &Lab) -> Result<()> {
    let server = "/opt/spire/conf/server/server.conf";
    lab.peer.get(&format!(
        "sed -i 's/bind_address.*/bind_address = \"0.0.0.0\"/' {server} && systemctl start spire-server"
    ))?;
    let healthy = format!("{BIN}/spire-server healthcheck");
    lab.peer
        .eventually(&healthy, PATIENCE, |said| said.contains("is healthy"))?;
    let uid = lab.vm.get("id -u proxyharness")?;
    lab.peer.get(&format!(
        "{BIN}/spire-server entry create -spiffeID {} -parentID spiffe://{TRUST_DOMAIN}/agent -selector unix:uid:{uid}",
        VM.spiffe_id()
    ))?;
    let token = lab.peer.get(&format!(
        "{BIN}/spire-server token generate -spiffeID spiffe://{TRUST_DOMAIN}/agent"
    ))?;
    let token = token.split_whitespace().nth(1).context("no token")?;
    let agent = "opt/spire/conf/agent";
    lab.vm.write(
        &format!("{agent}/token.env"),
        &format!("JOIN_TOKEN={token}\n"),
    )?;
    lab.vm.get(&format!(
        "sed -i 's/server_address.*/server_address = \"{}\"/' /{agent}/agent.conf",
        net::PEER
    ))?;
    Ok(())
}

// === `--confirm` ===

fn is_taken_back(lab: &mut Lab) -> Result<()> {
    // What a session started ends with it.
    lab.vm.write("etc/systemd/logind.conf.d/lab.conf", LOGOUT)?;
    lab.vm.get("systemctl restart systemd-logind")?;
    let mut session =
        Session::at_terminal(lab, "linkerd-proxy-harness redirect apply --confirm=8s")?;
    session.shows("everything is taken back in 8 s")?;
    refused(lab)?;
    drop(session);
    poll::until("the session to end", PATIENCE, || {
        let alive = lab.vm.get("pgrep -af 'redirect [a]pply' || true")?;
        ensure!(alive.is_empty(), "what it started is alive: {alive}");
        Ok(())
    })?;
    ensure!(
        !rules::ours(&lab.vm)?.is_empty(),
        "the rules went with the session"
    );
    gets_in(lab)?;
    poll::until("the rules to be taken back", PATIENCE, || is_open(lab))
}

fn stays_confirmed(lab: &mut Lab) -> Result<()> {
    let mut session =
        Session::at_terminal(lab, "linkerd-proxy-harness redirect apply --confirm=120s")?;
    session.shows("everything is taken back in 120 s")?;
    ssh::run(lab, "linkerd-proxy-harness redirect confirm")?;
    session.shows("confirmed: the rules stay")?;
    poll::until("who would have taken them back to end", PATIENCE, || {
        let left = lab.vm.get(&format!(
            "systemctl list-units --all --plain --no-legend '{UNIT}-take-back-*'"
        ))?;
        ensure!(left.is_empty(), "{left}");
        Ok(())
    })?;
    refused(lab)?;
    gets_in(lab)?;
    lab.vm.get("linkerd-proxy-harness redirect remove")?;
    is_open(lab)
}

// === what a host is ===

/// Asks `url` from `host`; curl's exit code, and what it printed.
fn ask(host: &dyn Host, url: &str) -> Result<(Option<i32>, String)> {
    let answer = host.sh(&format!("curl -sSi --max-time 5 {url}"))?;
    Ok((answer.code, answer.stdout))
}

fn to_vm() -> String {
    format!("http://{}:80", net::TRAINING_VM)
}

fn to_peer() -> String {
    format!("http://{}:80", net::PEER)
}

/// Neither in nor out, but for the operator.
fn refused(lab: &Lab) -> Result<()> {
    for (host, url) in [(&lab.outsider as &dyn Host, to_vm()), (&lab.vm, to_peer())] {
        let (code, said) = ask(host, &url)?;
        ensure!(
            code == Some(REFUSED),
            "{} got {code:?} from {url}: {said}",
            host.name()
        );
    }
    Ok(())
}

fn gets_in(lab: &Lab) -> Result<()> {
    let client = ssh::seen_client(lab).context("a new SSH session")?;
    ensure!(client == net::OUTSIDER, "SSH came from {client}");
    Ok(())
}

/// Waits for the page, with everything refused from the start.
fn held_closed(lab: &Lab) -> Result<()> {
    refused(lab)?;
    gets_in(lab)?;
    poll::until("the page to say so", PATIENCE, || {
        let reason = redirection(lab)?;
        ensure!(reason == "HeldClosed", "it says `{reason}`");
        Ok(())
    })?;
    refused(lab)
}

/// As without us, with no rule of ours anywhere.
fn is_open(lab: &Lab) -> Result<()> {
    let ours = rules::ours(&lab.vm)?;
    let jumps: Vec<&str> = ours
        .lines()
        .filter(|line| line.contains("-j PROXY_INIT"))
        .collect();
    ensure!(jumps.is_empty(), "there are rules of ours:\n{ours}");
    let (code, said) = ask(&lab.outsider, &to_vm())?;
    ensure!(
        code == Some(DONE) && is_in_the_clear(&said),
        "in: {code:?} {said}"
    );
    let (code, said) = ask(&lab.vm, &to_peer())?;
    ensure!(code == Some(DONE), "out: {code:?} {said}");
    Ok(())
}

/// The workload sees its client itself, and not the proxy.
fn is_in_the_clear(answer: &str) -> bool {
    answer.contains(&format!("x-seen-peer: {}", net::OUTSIDER))
}

/// Waits until the proxy serves both ways.
fn meshed(lab: &Lab) -> Result<()> {
    lab.vm.get("harnessctl wait --for=meshed --timeout=60s")?;
    for (host, url) in [(&lab.outsider as &dyn Host, to_vm()), (&lab.vm, to_peer())] {
        poll::until(&format!("{} to reach {url}", host.name()), PATIENCE, || {
            let (code, said) = ask(host, &url)?;
            ensure!(code == Some(DONE), "{code:?} {said}");
            ensure!(!is_in_the_clear(&said), "it went around the proxy: {said}");
            Ok(())
        })?;
    }
    Ok(())
}

fn redirection(lab: &Lab) -> Result<String> {
    let page = lab
        .vm
        .get("curl -sS --max-time 5 http://127.0.0.1:4192/status")?;
    let page: serde_json::Value = serde_json::from_str(&page).context("read /status")?;
    let reason = page
        .pointer("/redirection/reason")
        .and_then(serde_json::Value::as_str);
    Ok(reason.context("no reason in /status")?.to_owned())
}

fn witnessed(lab: &Lab, witness: &str, code: i32) -> Result<()> {
    let saw = lab.vm.get(&format!("cat /var/lib/{witness}"))?;
    ensure!(saw == code.to_string(), "{witness}: curl exited with {saw}");
    Ok(())
}

// === what happens to it ===

fn main_pid(lab: &Lab) -> Result<String> {
    lab.vm
        .get(&format!("systemctl show -p MainPID --value {UNIT}"))
}

/// Does it to the daemon, and waits for the next one to answer.
fn daemon_dies(lab: &Lab, deed: &str) -> Result<()> {
    let pid = main_pid(lab)?;
    lab.vm.get(&format!("{deed} {pid}"))?;
    poll::until("another daemon", PATIENCE, || {
        let now = main_pid(lab)?;
        ensure!(now != pid && now != "0", "it is {now}");
        redirection(lab).map(drop)
    })
}

const CONFIG: &str = "/var/lib/linkerd/linkerd-proxy-harness.cfg";

/// Crashes it in such a way that systemd gives up; it stays closed.
fn crash_for_good(lab: &Lab) -> Result<()> {
    lab.vm.get(&format!(
        "cp {CONFIG} /root/good.cfg && echo '{{' > {CONFIG} && kill -9 {}",
        main_pid(lab)?
    ))?;
    let show = format!("systemctl show -p ActiveState,ExecMainStatus --value {UNIT} | xargs");
    lab.vm.eventually(&show, PATIENCE, |shown| {
        shown.trim() == "78 failed" || shown.trim() == "failed 78"
    })?;
    refused(lab)?;
    gets_in(lab)
}

fn repair(lab: &Lab) -> Result<()> {
    lab.vm.get(&format!("cat /root/good.cfg > {CONFIG}"))?;
    Ok(())
}

/// The journal's own idea of now.
fn now(lab: &Lab) -> Result<String> {
    lab.vm.get("date '+%F %T.%N' | cut -c-26")
}

/// How many lines since then say how to open a host that is kept closed.
fn advice(lab: &Lab, since: &str) -> Result<usize> {
    let said = lab.vm.get(&format!(
        "journalctl --sync; journalctl -u {UNIT} --since='{since}' --no-pager -o cat"
    ))?;
    Ok(said
        .lines()
        .filter(|line| line.contains("by hand: linkerd-proxy-harness cleanup"))
        .count())
}

fn kept(lab: &Lab, since: &str) -> Result<()> {
    let lines = advice(lab, since)?;
    ensure!(lines == 1, "{lines} lines of the journal name the remedy");
    Ok(())
}

/// Whether the kernel still has the rules that were there before: what is deleted and made anew has another handle.
fn jumps(lab: &Lab) -> Result<String> {
    lab.vm
        .get("nft -a list table ip nat | sed -n 's/.*jump PROXY_INIT.*# handle//p'")
}

/// Does it while somebody knocks all the time.
fn nobody_gets_around(lab: &Lab, deed: impl FnOnce() -> Result<()>) -> Result<()> {
    let before = jumps(lab)?;
    let over = AtomicBool::new(false);
    let answers = thread::scope(|scope| {
        let knocking = scope.spawn(|| {
            let mut answers = Vec::new();
            while !over.load(Ordering::Relaxed) {
                answers.push(ask(&lab.outsider, &to_vm())?);
            }
            anyhow::Ok(answers)
        });
        let done = deed();
        over.store(true, Ordering::Relaxed);
        let answers = knocking
            .join()
            .map_err(|_panic| anyhow!("the knocking panicked"))?;
        done.and(answers)
    })?;
    ensure!(
        answers.iter().any(|(code, _)| *code == Some(REFUSED)),
        "nobody was refused: {answers:?}"
    );
    let around = answers.iter().find(|(_, said)| is_in_the_clear(said));
    ensure!(around.is_none(), "one got around the proxy: {around:?}");
    let after = jumps(lab)?;
    ensure!(
        before == after,
        "the rules were\n{before}\nand are\n{after}"
    );
    Ok(())
}
