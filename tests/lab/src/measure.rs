//! Speed and size: at the end of the demo, and with repetitions as `make bench`. Shown, never judged.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::host::Host as _;
use crate::lab::Lab;
use crate::screen::{say, working};
use crate::walkthrough::{self, Silent, VM, walk};

/// How long the daemon is watched doing nothing.
const IDLE: Duration = Duration::from_secs(10);
/// How often `make bench` starts and stops the daemon.
const REPETITIONS: usize = 10;

/// Starts the daemon and prints, in seconds: systemctl's return, certified, rules in place, workload ready.
const START: &str = r#"set -e
unit=linkerd-proxy-harness
systemctl stop $unit
begun=$(date +%s.%N)
systemctl start $unit
returned=$(date +%s.%N)
for _ in $(seq 3000); do
    curl -s --max-time 1 http://127.0.0.1:4192/status | grep -q '"meshed": true' && break
    sleep 0.01
done
ready=$(date +%s.%N)
journal() { journalctl -u $unit -o short-unix --no-pager --since "@${begun%.*}" | awk -v from="$begun" '$1 >= from' | grep -m1 "$1" | cut -d' ' -f1; }
for moment in "$returned" "$(journal 'Certified identity')" "$(journal 'rules applied')" "$ready"; do
    awk -v moment="${moment:-0}" -v begun="$begun" 'BEGIN { printf "%.3f ", (moment > 0) ? moment - begun : -1 }'
done
"#;

/// How one start went, in seconds since `systemctl start`.
#[derive(Clone, Copy, Debug)]
struct Start {
    returned: f64,
    certified: f64,
    redirected: f64,
    ready: f64,
    /// How long the rules took to come and to go, in milliseconds.
    applied: f64,
    withdrawn: f64,
}

/// What the daemon said last of a change of its rules, in milliseconds.
const RULES: &str = r#"for change in applied withdrawn; do
    journalctl -u linkerd-proxy-harness -o cat --no-pager | grep -o "rules $change ms=[0-9.]*" | tail -n 1 | cut -d= -f2
done"#;

fn start(lab: &Lab) -> Result<Start> {
    let printed = lab.vm.get(START)?;
    let numbers: Vec<f64> = printed
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    let [returned, certified, redirected, ready] = numbers[..] else {
        anyhow::bail!("the measurement printed `{printed}`")
    };
    let changes = lab.vm.get(RULES)?;
    let mut changes = changes.lines().map(str::parse::<f64>);
    let mut change = || {
        changes
            .next()
            .context("the journal tells no time")?
            .context("read a time")
    };
    Ok(Start {
        returned,
        certified,
        redirected,
        ready,
        applied: change()?,
        withdrawn: change()?,
    })
}

/// What the demo ends with.
pub fn summary(lab: &Lab) -> Result<()> {
    let start = working("starting once more, with a clock", || start(lab))?;
    let idle = working("watching the daemon idle", || idle_cpu_percent(lab))?;
    let (memory, exposure) = (memory(lab)?, exposure(lab)?);
    say("\nIn numbers\n");
    say("  from `systemctl start`");
    say(&format!(
        "    systemctl returns             {:.2} s",
        start.returned
    ));
    say(&format!(
        "    proxy certified               {:.2} s",
        start.certified
    ));
    say(&format!(
        "    traffic redirected            {:.2} s",
        start.redirected
    ));
    say(&format!(
        "    workload ready                {:.2} s, of which its probe waits 3 s",
        start.ready
    ));
    say(&format!(
        "  rules applied, withdrawn        {:.0} ms, {:.0} ms",
        start.applied, start.withdrawn
    ));
    say(&format!(
        "  daemon, resident memory         {memory:.1} MiB"
    ));
    say(&format!(
        "  daemon, CPU when idle           {idle:.3} % of one core"
    ));
    say(&format!(
        "  package, without the proxy      {:.2} MiB",
        package(lab)?
    ));
    say(&format!("  exposure (systemd-analyze)      {exposure}"));
    say(&format!("  {}", lab.products.proxy.describe()));
    Ok(())
}

/// `make bench`: a table with the spread.
pub fn bench(program: &Path) -> Result<()> {
    let lab = Lab::start(program)?;
    say(&lab.products.proxy.describe());
    working("joining the mesh", || {
        let mut chapters = VM.join(&lab.package_name()?);
        chapters.insert(4, walkthrough::workload());
        walk(&lab, &chapters, &mut Silent)
    })?;
    let starts = working("starting and stopping", || {
        (0..REPETITIONS)
            .map(|_| start(&lab))
            .collect::<Result<Vec<_>>>()
    })?;
    let idle = working("watching the daemon idle", || {
        (0..3)
            .map(|_| idle_cpu_percent(&lab))
            .collect::<Result<Vec<_>>>()
    })?;
    say(&format!(
        "\n{:<44}{:>5}{:>10}{:>10}{:>10}",
        "", "n", "median", "least", "most"
    ));
    let of = |pick: fn(&Start) -> f64| starts.iter().map(pick).collect::<Vec<_>>();
    row("systemctl start returns, s", of(|start| start.returned));
    row("proxy certified, s", of(|start| start.certified));
    row("traffic redirected, s", of(|start| start.redirected));
    row(
        "workload ready (probe waits 3 s), s",
        of(|start| start.ready),
    );
    row("rules applied, ms", of(|start| start.applied));
    row("rules withdrawn, ms", of(|start| start.withdrawn));
    row("daemon CPU when idle, % of one core", idle);
    row("daemon resident memory, MiB", vec![memory(&lab)?]);
    row("package without the proxy, MiB", vec![package(&lab)?]);
    row("exposure (systemd-analyze)", vec![exposure(&lab)?]);
    Ok(())
}

fn row(what: &str, mut values: Vec<f64>) {
    values.sort_by(f64::total_cmp);
    if let (Some(least), Some(median), Some(most)) =
        (values.first(), values.get(values.len() / 2), values.last())
    {
        say(&format!(
            "{what:<44}{:>5}{median:>10.3}{least:>10.3}{most:>10.3}",
            values.len()
        ));
    }
}

fn main_pid(lab: &Lab) -> Result<String> {
    lab.vm
        .get("systemctl show -p MainPID --value linkerd-proxy-harness")
}

/// In MiB.
fn memory(lab: &Lab) -> Result<f64> {
    let line = lab
        .vm
        .get(&format!("grep VmRSS /proc/{}/status", main_pid(lab)?))?;
    let kib: f64 = line
        .split_whitespace()
        .nth(1)
        .context("VmRSS has no value")?
        .parse()
        .context("read VmRSS")?;
    Ok(kib / 1024.0)
}

/// In MiB.
fn package(lab: &Lab) -> Result<f64> {
    let kib = fs::metadata(&lab.products.package)
        .context("look at the package")?
        .len()
        / 1024;
    Ok(f64::from(u32::try_from(kib).context("the package is larger than 4 TiB")?) / 1024.0)
}

/// systemd's mark for the daemon's unit, 0 (locked up) to 10.
pub fn exposure(lab: &Lab) -> Result<f64> {
    let report = lab
        .vm
        .sh("systemd-analyze security --no-pager linkerd-proxy-harness.service")?
        .stdout;
    let verdict = report.lines().last().unwrap_or_default();
    let mark = verdict
        .split_whitespace()
        .find_map(|word| word.parse().ok());
    mark.with_context(|| format!("there is no mark in:\n{report}"))
}

/// Share of one core that the daemon itself uses when nothing happens, in percent.
fn idle_cpu_percent(lab: &Lab) -> Result<f64> {
    let pid = main_pid(lab)?;
    // In nanoseconds: ticks of 10 ms are too coarse.
    let used = || -> Result<u64> {
        let threads = lab.vm.get(&format!("cat /proc/{pid}/task/*/schedstat"))?;
        Ok(threads
            .lines()
            .filter_map(|line| line.split(' ').next()?.parse::<u64>().ok())
            .sum())
    };
    let before = used()?;
    std::thread::sleep(IDLE);
    let busy = Duration::from_nanos(used()?.saturating_sub(before));
    Ok(busy.as_secs_f64() / IDLE.as_secs_f64() * 100.0)
}
