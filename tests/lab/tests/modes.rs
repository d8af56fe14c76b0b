//! Each `IPTablesMode`, with both families: join, traffic, flush, reboot, and a stop that leaves nothing.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lab::host::Host as _;
use lab::lab::Lab;
use lab::story::Story;
use lab::walkthrough::{self, Member, PEER, Silent, VM, walk};
use lab::{docker, net, poll, rules, seen};

/// Longer than two of the daemon's sweeps, on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A value of `IPTablesMode`.
struct Mode {
    name: &'static str,
    /// Typed before the host's own rules are made, so that they are where this mode has ours.
    before: &'static str,
    /// Who shows our rules, one for each family; one alone shows both.
    shown_by: &'static [&'static str],
    /// Takes all rules away, ours too.
    flush: &'static str,
}

/// The host's own rules of IPv6, beside Docker's of IPv4: made at boot, in whichever backend `ip6tables` is.
const OWN_RULES: &str = "[Unit]
Description=The operator's own rules
Before=network.target docker.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=ip6tables -t nat -A PREROUTING -p tcp --dport 7777 -j REDIRECT --to-ports 7778
ExecStart=ip6tables -t nat -A OUTPUT -d fd99::/64 -j ACCEPT
ExecStart=ip6tables -t nat -A POSTROUTING -s fd99::/64 -j MASQUERADE
[Install]
WantedBy=multi-user.target
";

/// After a flush, the host's own rules are made again.
const RESTORE: &str = "systemctl reset-failed docker && systemctl restart own-rules docker";

const FLUSH: &str = "iptables -t nat -F && ip6tables -t nat -F";

/// What an earlier boot or mode left would be made again in another order, or by Docker not at all.
const FRESH: &str = "nft flush ruleset";

/// As a host of before 2019 has it.
const USE_LEGACY: &str = "update-alternatives --quiet --set iptables /usr/sbin/iptables-legacy && \
    update-alternatives --quiet --set ip6tables /usr/sbin/ip6tables-legacy && nft flush ruleset";

const MODES: [Mode; 3] = [
    Mode {
        name: "nft",
        before: FRESH,
        shown_by: &["iptables-nft-save: ", "ip6tables-nft-save: "],
        flush: FLUSH,
    },
    Mode {
        name: "nftables",
        before: FRESH,
        shown_by: &["nft: "],
        flush: "nft flush ruleset",
    },
    Mode {
        name: "legacy",
        before: USE_LEGACY,
        shown_by: &["iptables-legacy-save: ", "ip6tables-legacy-save: "],
        flush: FLUSH,
    },
];

#[test]
fn each_mode_redirects_both_families_and_leaves_nothing() -> Result<()> {
    let mut story = Story::begin(env!("CARGO_BIN_EXE_lab"))?;
    story.then("the VM runs a container, and has rules of its own", |lab| {
        lab.control.probe_often()?;
        lab.vm
            .write("etc/systemd/system/own-rules.service", OWN_RULES)?;
        lab.vm.get("systemctl enable --now --quiet own-rules")?;
        walk(lab, &[walkthrough::workload()], &mut Silent)
    })?;
    story.then(
        "both hosts have the package, an identity, two families",
        |lab| {
            for (member, address) in [(PEER, net::PEER), (VM, net::TRAINING_VM)] {
                let chapters = [
                    member.spire(),
                    member.install(&lab.package_name()?),
                    member.entry(),
                    member.configure(),
                ];
                walk(lab, &chapters, &mut Silent)?;
                lab.host(member.place).get(&format!(
                    "harnessctl set-config --ipv6=true --advertise-addresses={address},{}",
                    net::v6(address)
                ))?;
            }
            start(lab, PEER)
        },
    )?;
    for mode in &MODES {
        let name = mode.name;
        let untouched = story.then(&format!("{name}: the host's own rules are there"), |lab| {
            lab.vm.get(mode.before)?;
            lab.vm.get(RESTORE)?;
            docker::wait(&lab.vm)?;
            let rules = rules::of(&lab.vm)?;
            for own in ["DOCKER", "fd99::"] {
                ensure!(rules.contains(own), "`{own}` is missing in:\n{rules}");
            }
            Ok(rules)
        })?;
        let ours = story.then(
            &format!("{name}: the VM joins, with rules of both families"),
            |lab| {
                lab.vm
                    .get(&format!("harnessctl set-config --iptables-mode={name}"))?;
                start(lab, VM)?;
                rules_are_of(lab, mode)
            },
        )?;
        let meshed = format!("{name}: traffic is meshed both ways, over IPv4 and over IPv6");
        story.then(&meshed, |lab| meshed_in_both_families(lab))?;
        let left =
            format!("{name}: a stop leaves the host's own rules as they were, and none of ours");
        story.then(&left, |lab| {
            stop(lab)?;
            rules::same(&untouched, &rules::of(&lab.vm)?)
        })?;
        let flushed = format!("{name}: after a start and a flush they are back");
        story.then(&flushed, |lab| {
            start(lab, VM)?;
            lab.vm.get(mode.flush)?;
            lab.vm.get(RESTORE)?;
            back(lab, &ours)
        })?;
        let rebooted =
            format!("{name}: after a reboot they are there, once, and gone after a stop");
        story.then(&rebooted, |lab| {
            lab.vm.reboot(&lab.net)?;
            back(lab, &ours)?;
            stop(lab)
        })?;
    }
    Ok(())
}

fn start(lab: &Lab, member: Member) -> Result<()> {
    lab.host(member.place).get(
        "systemctl start linkerd-proxy-harness && harnessctl wait --for=meshed --timeout=60s",
    )?;
    Ok(())
}

fn stop(lab: &Lab) -> Result<()> {
    lab.vm.get("systemctl stop linkerd-proxy-harness")?;
    let ours = rules::ours(&lab.vm)?;
    ensure!(ours.is_empty(), "these are left:\n{ours}");
    Ok(())
}

/// Our rules, once it is sure that they are where this mode has them, of both families, and nowhere else.
fn rules_are_of(lab: &Lab, mode: &Mode) -> Result<String> {
    let ours = rules::ours(&lab.vm)?;
    for shown in mode.shown_by {
        ensure!(ours.contains(shown), "`{shown}` shows none of:\n{ours}");
    }
    let elsewhere = ours
        .lines()
        .find(|line| !mode.shown_by.iter().any(|shown| line.starts_with(shown)));
    ensure!(elsewhere.is_none(), "{elsewhere:?} is elsewhere");
    rules::ours_come_first(&lab.vm)?;
    Ok(ours)
}

/// Waits until `ours` are there again, and traffic is meshed.
fn back(lab: &Lab, ours: &str) -> Result<()> {
    docker::wait(&lab.vm)?;
    poll::until("rules of ours", PATIENCE, || {
        rules::same(ours, &rules::ours(&lab.vm)?)?;
        rules::ours_come_first(&lab.vm)
    })?;
    meshed_in_both_families(lab)
}

fn meshed_in_both_families(lab: &Lab) -> Result<()> {
    seen::both_ways(lab).context("over IPv4")?;
    let url = |v4: &str| format!("http://[{}]:80/", net::v6(v4));
    let (to_vm, to_peer) = (url(net::TRAINING_VM), url(net::PEER));
    let (welcome, app) = ("Welcome from training-vm", "Simple App v1");
    seen::meshed(&lab.peer, &to_vm, welcome, &PEER.spiffe_id())?;
    seen::meshed(&lab.vm, &to_peer, app, &VM.spiffe_id())?;
    seen::meshed(&lab.outsider, &to_vm, welcome, "")
}
