//! The Debian package on a booted VM: what it brings, what it leaves alone, and that purge leaves nothing behind.

use anyhow::{Result, ensure};
use lab::host::Host as _;
use lab::lab::Lab;
use lab::story::Story;
use lab::walkthrough::{Silent, VM, walk};
use lab::{measure, rules};

/// All that may change on a disk when packages come and go, less what apt, dpkg and the journal write for themselves.
const SNAPSHOT: &str = "find / -xdev \\( -path /proc -o -path /sys -o -path /run -o -path /tmp -o -path /var/lib/docker \
    -o -path /var/lib/dpkg -o -path /var/lib/apt -o -path /var/cache -o -path /var/log -o -path /root -o -path /opt \
    -o -path /var/lib/containerd -o -path /var/lib/systemd \\) -prune -o -printf '%p %y %m %u %g %l\\n' | sort; \
    cut -d: -f1,6,7 /etc/passwd; cut -d: -f1 /etc/group; systemctl list-unit-files --no-legend | awk '{print $1, $2}' | sort";

#[test]
fn the_package_comes_and_goes_without_a_trace() -> Result<()> {
    let mut story = Story::begin(env!("CARGO_BIN_EXE_lab"))?;

    let (before, rules_before) = story.then("the VM is as it was delivered", |lab| {
        Ok((lab.vm.get(SNAPSHOT)?, rules::of(&lab.vm)?))
    })?;
    story.then("apt installs the package; nothing is started", |lab| {
        walk(lab, &[VM.install(&lab.package_name()?)], &mut Silent)?;
        lab.vm.get("! pgrep -u proxyharness")?;
        rules::same(&rules_before, &rules::of(&lab.vm)?)
    })?;
    story.then("without the proxy it has at most 4 MiB", |lab| {
        let size = std::fs::metadata(&lab.products.package)?.len();
        ensure!(size <= 4 << 20, "it has {size} bytes");
        Ok(())
    })?;
    story.then(
        "harnessctl is in PATH, and the daemon's help names its commands",
        |lab| {
            lab.vm.get("harnessctl --help")?;
            let help = lab.vm.get("linkerd-proxy-harness --help")?;
            for verb in ["run", "cleanup"] {
                ensure!(help.contains(verb), "`{verb}` is missing in:\n{help}");
            }
            Ok(())
        },
    )?;
    story.then(
        "systemd finds nothing to complain about in the units",
        |lab| {
            let units = lab
                .vm
                .get("systemctl list-unit-files 'linkerd-*' --no-legend | awk '{print $1}'")?;
            ensure!(
                units.contains("linkerd-proxy-harness.service"),
                "the units are: {units}"
            );
            for unit in units.lines() {
                let verified = lab
                    .vm
                    .sh(&format!("systemd-analyze verify --man=no {unit}"))?
                    .ok()?;
                let ours: Vec<&str> = verified
                    .stderr
                    .lines()
                    .filter(|line| line.contains("linkerd"))
                    .collect();
                ensure!(ours.is_empty(), "{}", ours.join("\n"));
            }
            Ok(())
        },
    )?;
    story.then("the daemon's unit is exposed by 2.5 at most", |lab| {
        let exposure = measure::exposure(lab)?;
        ensure!(exposure <= 2.5, "it is {exposure}");
        Ok(())
    })?;
    story.then("the walk-through's set-config is understood", |lab| {
        walk(lab, &[VM.configure()], &mut Silent)
    })?;
    story.then(
        "bad input changes nothing, says every problem at once, and exits with 64 or 78",
        bad_input_is_refused,
    )?;
    story.then("two writers at once both find their change in the file", |lab| {
        lab.vm.get("harnessctl set-config --log-level=debug & harnessctl set-config --ipv6=true & wait")?;
        let file = lab.vm.get("cat /var/lib/linkerd/linkerd-proxy-harness.cfg")?;
        ensure!(file.contains("\"debug\"") && file.contains("true"), "{file}");
        Ok(())
    })?;
    story.then("a full disk leaves the configuration as it was", |lab| {
        let full = "set -e; cd /var/lib/linkerd; before=$(sha256sum < linkerd-proxy-harness.cfg)\n\
                    mkdir -p /run/small; mount -t tmpfs -o size=16k tmpfs /run/small\n\
                    cp linkerd-proxy-harness.cfg /run/small/; head -c 1M /dev/zero > /run/small/filler 2>/dev/null || true\n\
                    code=0; harnessctl --config /run/small/linkerd-proxy-harness.cfg set-config --log-level=warn || code=$?\n\
                    echo code=$code; [ \"$before\" = \"$(sha256sum < /run/small/linkerd-proxy-harness.cfg)\" ]; umount /run/small";
        let answer = lab.vm.get(full)?;
        ensure!(!answer.contains("code=0"), "{answer}");
        Ok(())
    })?;
    story.then("purge leaves nothing behind", |lab| {
        lab.vm
            .get("DEBIAN_FRONTEND=noninteractive apt-get -y purge linkerd-proxy-harness")?;
        let after = lab.vm.get(SNAPSHOT)?;
        let new: Vec<&str> = after
            .lines()
            .filter(|line| !before.lines().any(|old| old == *line))
            .collect();
        let gone: Vec<&str> = before
            .lines()
            .filter(|line| !after.lines().any(|new| new == *line))
            .collect();
        ensure!(
            new.is_empty() && gone.is_empty(),
            "new or changed:\n{}\ngone:\n{}",
            new.join("\n"),
            gone.join("\n")
        );
        rules::same(&rules_before, &rules::of(&lab.vm)?)
    })?;
    Ok(())
}

/// Each of these is wrong in its own way; what must be named in the complaint.
const BAD: [(&str, &[&str]); 7] = [
    ("--workload-grup-name=x", &["--workload-group-name"]),
    ("--proxy-admin-address=127.0.0.1:99999", &["99999"]),
    ("--subnets-to-ignore=10.0.0.0/64", &["10.0.0.0/64"]),
    ("--shutdown-grace-period=soon", &["soon"]),
    ("--workload-group-name=", &["workload-group-name"]),
    ("--workload-group-name=Not_A_Label", &["Not_A_Label"]),
    (
        "--workload-group-name=A_B --shutdown-grace-period=soon",
        &["A_B", "soon"],
    ),
];

fn bad_input_is_refused(lab: &mut Lab) -> Result<()> {
    const FILE: &str = "sha256sum /var/lib/linkerd/linkerd-proxy-harness.cfg; stat -c '%i %Y %a %U' /var/lib/linkerd/linkerd-proxy-harness.cfg";
    let before = lab.vm.get(FILE)?;
    for (flags, named) in BAD {
        let answer = lab.vm.sh(&format!("harnessctl set-config {flags}"))?;
        ensure!(matches!(answer.code, Some(64 | 78)), "{answer}");
        for name in named {
            ensure!(
                answer.stderr.contains(name),
                "`{name}` is not named: {answer}"
            );
        }
        ensure!(lab.vm.get(FILE)? == before, "`{flags}` changed the file");
    }
    Ok(())
}
