//! A VM: a systemd-nspawn machine that boots the lab's root with its own systemd, network, disk and machine id.

mod furniture;

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::exec;
use crate::host::Host;
use crate::net::Net;
use crate::run::Run;
use crate::{cgroup, poll};

/// A boot takes 2 s here, more on a loaded machine.
const BOOT: Duration = Duration::from_secs(90);
/// systemd's own limit for a stop is 90 s.
const SHUTDOWN: Duration = Duration::from_secs(120);
/// Exit code of systemd-nspawn for "the machine wants to be started again".
const REBOOT: i32 = 133;

/// What a VM is made of.
#[derive(Clone, Debug)]
pub struct Plan<'a> {
    /// Its host name.
    pub name: &'a str,
    /// Its address on the lab's network; it has that of [`net::v6`](crate::net::v6) too.
    pub address: &'a str,
    /// Does Docker run in it?
    pub docker: bool,
    /// Files and directories of this machine, and where the VM sees them, read-only.
    pub shared: Vec<(PathBuf, String)>,
}

/// A VM, booted or not. It ends with its [`Run`].
#[derive(Debug)]
pub struct Vm {
    name: String,
    group: String,
    root: PathBuf,
    console: PathBuf,
    arguments: Vec<String>,
    machine: Option<Child>,
}

impl Vm {
    /// Makes its disk from `image`; does not boot it.
    pub fn make(run: &Run, image: &Path, plan: &Plan<'_>) -> Result<Self> {
        let dir = run.dir().join(plan.name);
        let root = dir.join("root");
        furniture::disk(image, &dir)
            .with_context(|| format!("make the disk of `{}`", plan.name))?;
        let vm = Self {
            name: plan.name.to_owned(),
            group: format!("{}-{}", run.name(), plan.name),
            console: dir.join("console"),
            arguments: arguments(run, plan, &dir)?,
            root,
            machine: None,
        };
        furniture::furnish(&vm, plan)?;
        Ok(vm)
    }

    /// Lets these units start at boot.
    pub fn enable(&self, units: &[&str]) -> Result<()> {
        let mut enable = Command::new("systemctl");
        enable
            .arg("--root")
            .arg(&self.root)
            .arg("enable")
            .args(units);
        exec::run(&mut enable)?.ok()?;
        Ok(())
    }

    /// Writes a file on the VM's disk; `path` without a leading slash.
    pub fn write(&self, path: &str, text: &str) -> Result<()> {
        let path = self.root.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).with_context(|| format!("make `{}`", parent.display()))?;
        }
        fs::write(&path, text).with_context(|| format!("write `{}`", path.display()))
    }

    /// Copies a file of this machine to the VM's disk; `path` without a leading slash.
    pub fn copy(&self, from: &Path, path: &str) -> Result<()> {
        fs::copy(from, self.root.join(path))
            .with_context(|| format!("copy `{}` to the VM", from.display()))?;
        Ok(())
    }

    /// Boots it and waits until its systemd says `running`.
    pub fn boot(&mut self, net: &Net) -> Result<Duration> {
        let started = Instant::now();
        for group in cgroup::named(&self.group) {
            cgroup::remove(&group);
        }
        let console = File::options()
            .create(true)
            .append(true)
            .open(&self.console)
            .context("open the console's log")?;
        let mut machine = Command::new("/bin/sh");
        // Enters its control groups, then becomes systemd-nspawn.
        machine.args(["-c", "while [ \"$1\" != -- ]; do echo $$ > \"$1\" || exit 1; shift; done; shift; exec \"$@\"", "sh"]);
        machine
            .args(cgroup::make(&self.group)?)
            .arg("--")
            .args(&self.arguments);
        machine
            .stdin(Stdio::null())
            .stdout(console.try_clone().context("share the console's log")?)
            .stderr(console);
        self.machine = Some(
            machine
                .process_group(0)
                .spawn()
                .context("start systemd-nspawn")?,
        );
        let booted = self.wait_until_running(net);
        booted.with_context(|| {
            format!(
                "boot `{}`; its console said:\n{}",
                self.name,
                self.last_of_console()
            )
        })?;
        Ok(started.elapsed())
    }

    fn wait_until_running(&mut self, net: &Net) -> Result<()> {
        let leader = poll::until("its first process", BOOT, || self.leader())?;
        net.cable(&self.name, &leader.to_string())?;
        let state = poll::until("its systemd", BOOT, || {
            let state = self.sh("systemctl is-system-running")?;
            match state.stdout.trim() {
                settled @ ("running" | "degraded") => Ok(settled.to_owned()),
                _ => bail!("it answered {state}"),
            }
        })?;
        if state == "degraded" {
            let failed = "systemctl --failed --plain --no-legend | cut -d' ' -f1 | xargs -r systemctl status --no-pager || true";
            bail!("these units failed:\n{}", self.get(failed)?);
        }
        Ok(())
    }

    /// Types `systemctl reboot` and waits until it is up again.
    pub fn reboot(&mut self, net: &Net) -> Result<Duration> {
        // The shell may be gone before it can answer.
        let _cut = self.sh("systemctl reboot")?;
        match self.wait_for_end()? {
            Some(REBOOT) => self.boot(net),
            other => bail!("`{}` went down for a reboot with {other:?}", self.name),
        }
    }

    /// Pulls the plug and boots again: nothing in the VM gets a chance to say good-bye.
    pub fn power_cycle(&mut self, net: &Net) -> Result<Duration> {
        for pid in cgroup::named(&self.group)
            .iter()
            .flat_map(|group| cgroup::processes(group))
        {
            let _gone = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        self.wait_for_end()?;
        self.boot(net)
    }

    fn wait_for_end(&mut self) -> Result<Option<i32>> {
        let Some(mut machine) = self.machine.take() else {
            bail!("`{}` is not up", self.name)
        };
        poll::until(
            &format!("`{}` to go down", self.name),
            SHUTDOWN,
            || match machine.try_wait()? {
                Some(status) => Ok(status.code()),
                None => bail!("it is still up"),
            },
        )
    }

    /// The VM's own process 1, as this machine numbers it.
    fn leader(&self) -> Result<i32> {
        let Some(machine) = &self.machine else {
            bail!("`{}` is not up", self.name)
        };
        let (id, own) = (
            machine.id(),
            fs::read_link("/proc/self/ns/net").context("read our namespace")?,
        );
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children"))
            .context("systemd-nspawn has ended")?;
        let mut children = children.split_whitespace();
        // Another child exists for a moment, which is still in our network namespace.
        children
            .find(|child| {
                fs::read_link(format!("/proc/{child}/ns/net")).is_ok_and(|theirs| theirs != own)
            })
            .and_then(|child| child.parse().ok())
            .with_context(|| format!("`{}` has no process 1 yet", self.name))
    }

    fn last_of_console(&self) -> String {
        let console = fs::read_to_string(&self.console).unwrap_or_default();
        let last: Vec<&str> = console.lines().rev().take(20).collect();
        exec::indented(&last.into_iter().rev().collect::<Vec<_>>().join("\n"))
    }

    /// What helps to understand a failure: the journal and the nat rules.
    pub fn report(&self) -> String {
        let look = |command: &str| {
            self.sh(command)
                .map_or_else(|error| format!("{error:#}"), |answer| answer.text())
        };
        format!(
            "journal of `{}`:\n{}\nrules of `{}`:\n{}",
            self.name,
            exec::indented(&look(
                "journalctl --no-pager -n 150 -u linkerd-proxy-harness"
            )),
            self.name,
            exec::indented(&look(
                "iptables-save -t nat; iptables-legacy-save 2>/dev/null"
            )),
        )
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        let Some(mut machine) = self.machine.take() else {
            return;
        };
        // Its process 1 dies with systemd-nspawn, and everything else in the VM with that.
        let _ended = machine.kill();
        let _reaped = machine.wait();
    }
}

impl Host for Vm {
    fn name(&self) -> &str {
        &self.name
    }

    fn entrance(&self) -> Result<Vec<String>> {
        Ok(["nsenter", "-t", &self.leader()?.to_string(), "-a", "--"]
            .map(str::to_owned)
            .into())
    }
}

/// The command that boots it.
fn arguments(run: &Run, plan: &Plan<'_>, dir: &Path) -> Result<Vec<String>> {
    let mut words: Vec<String> = [
        "systemd-nspawn",
        "--quiet",
        "--register=no",
        "--keep-unit",
        "--private-network",
    ]
    .map(str::to_owned)
    .into();
    words.extend(
        [
            "--capability=all",
            "--resolv-conf=off",
            "--timezone=off",
            "--boot",
        ]
        .map(str::to_owned),
    );
    // Docker needs both, and the firewalls of newer distributions the second.
    words.push("--system-call-filter=@keyring bpf".to_owned());
    words.push(format!("--machine={}-{}", run.name(), plan.name));
    words.push(format!("--hostname={}", plan.name));
    words.push(format!("--directory={}", dir.join("root").display()));
    for (from, to) in &plan.shared {
        words.push(format!("--bind-ro={}:{to}", from.display()));
    }
    if plan.docker {
        // Docker's layers cannot lie on top of ours.
        let docker = dir.join("docker");
        fs::create_dir_all(&docker).context("make Docker's directory")?;
        words.push(format!("--bind={}:/var/lib/docker", docker.display()));
    }
    Ok(words)
}
