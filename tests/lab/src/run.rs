//! One lab that is up: its name, its directory, and its end.
//!
//! Everything that a lab makes carries its name (namespaces, control groups) or lies in its directory (mounts), so it
//! can be removed without any memory: by the lab itself, by a watcher when the lab was killed, by the next lab.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::{cgroup, exec, place, poll};

/// Left in the directory of a lab that shall stay when its maker ends.
const KEPT: &str = "kept";
/// Locked for as long as the maker of the lab lives.
const LOCK: &str = "lock";
/// In the cache: locked while one lab is made, or dead ones are removed. A lab that is half made looks like a dead one.
const MAKING: &str = "run.lock";

/// A lab's name and directory; all of it is taken down on drop.
#[derive(Debug)]
pub struct Run {
    name: String,
    dir: PathBuf,
    watcher: Option<Child>,
    _lock: Flock<File>,
}

impl Run {
    /// A new one, after the leftovers of killed ones are gone. `lab` is the `lab` binary: it watches over us.
    pub fn start(lab: &Path) -> Result<Self> {
        let making = one_at_a_time()?;
        remove_dead(false);
        let name = free_name();
        let dir = place::runs().join(&name);
        fs::create_dir_all(&dir).with_context(|| format!("make `{}`", dir.display()))?;
        let lock = File::create(dir.join(LOCK)).context("make the lab's lock")?;
        let lock = Flock::lock(lock, FlockArg::LockExclusiveNonblock)
            .map_err(|(_, errno)| errno)
            .context("lock the lab's directory")?;
        drop(making);
        // Its own process group, so that Ctrl-C does not reach it; its input ends when we do, however we end.
        let watcher = Command::new(lab)
            .args(["watch", &name])
            .stdin(Stdio::piped())
            .process_group(0)
            .spawn()
            .with_context(|| format!("start `{} watch`", lab.display()))?;
        Ok(Self {
            name,
            dir,
            watcher: Some(watcher),
            _lock: lock,
        })
    }

    /// Such as `l3fa2`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its own directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Leaves the lab up when this value is gone; `lab clean` takes it down.
    pub fn keep(mut self) -> Result<()> {
        fs::write(self.dir.join(KEPT), "").context("mark the lab as kept")?;
        self.dismiss_watcher();
        // Without the drop: the lock goes with the process.
        std::mem::forget(self);
        Ok(())
    }

    fn dismiss_watcher(&mut self) {
        if let Some(mut watcher) = self.watcher.take() {
            drop(watcher.stdin.take());
            let _gone = watcher.wait();
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        remove(&self.name, &self.dir);
        self.dismiss_watcher();
    }
}

/// What `lab watch NAME` does: waits for its input to end, then removes what is left of that lab.
pub fn watch(name: &str) -> Result<()> {
    let mut nothing = Vec::new();
    std::io::stdin()
        .read_to_end(&mut nothing)
        .context("wait for the lab to end")?;
    let dir = place::runs().join(name);
    if dir.exists() && !dir.join(KEPT).exists() {
        remove(name, &dir);
    }
    Ok(())
}

/// Removes every lab whose maker is gone; kept ones only when `kept_too`. Answers how many there were.
pub fn clean(kept_too: bool) -> Result<usize> {
    let _making = one_at_a_time()?;
    Ok(remove_dead(kept_too))
}

/// Held by whoever makes a lab or removes dead ones.
fn one_at_a_time() -> Result<File> {
    fs::create_dir_all(place::cache()).context("make the lab's cache")?;
    let lock = File::create(place::cache().join(MAKING)).context("make a lock file")?;
    lock.lock().context("wait for another lab to be made")?;
    Ok(lock)
}

fn remove_dead(kept_too: bool) -> usize {
    let mut removed = 0;
    for entry in fs::read_dir(place::runs()).into_iter().flatten().flatten() {
        let dir = entry.path();
        let kept = dir.join(KEPT).exists();
        if (kept && !kept_too) || is_living(&dir) {
            continue;
        }
        remove(&entry.file_name().to_string_lossy(), &dir);
        removed += 1;
    }
    removed
}

/// A name that nothing on this machine has, not even the kept lab of another source tree. Short, because the names of
/// network interfaces are.
fn free_name() -> String {
    let mut number = std::process::id();
    loop {
        let name = format!("l{:04x}", number & 0xffff);
        if namespaces(&format!("{name}-")).is_empty() && !place::runs().join(&name).exists() {
            return name;
        }
        number += 1;
    }
}

fn is_living(dir: &Path) -> bool {
    let Ok(lock) = File::open(dir.join(LOCK)) else {
        return false;
    };
    // Released at once when we got it.
    Flock::lock(lock, FlockArg::LockExclusiveNonblock).is_err()
}

/// Removes all that carries `name` and all that is in `dir`. Goes on after a failure and says nothing: the next lab
/// tries again.
fn remove(name: &str, dir: &Path) {
    let prefix = format!("{name}-");
    kill_all(&prefix);
    for group in cgroup::named(&prefix) {
        cgroup::remove(&group);
    }
    for namespace in namespaces(&prefix) {
        let _gone = exec::run(Command::new("ip").args(["netns", "del", &namespace]));
        let _none = fs::remove_dir_all(Path::new("/etc/netns").join(&namespace));
    }
    for mount in mounts_below(dir) {
        let _gone = exec::run(Command::new("umount").arg("--lazy").arg(mount));
    }
    if mounts_below(dir).is_empty() {
        let _gone = fs::remove_dir_all(dir);
    }
}

/// Kills every process in a control group or network namespace of the lab, until none is left.
fn kill_all(prefix: &str) {
    let _some_left = poll::until(
        "the lab's processes to end",
        Duration::from_secs(10),
        || {
            let mut pids: Vec<i32> = cgroup::named(prefix)
                .iter()
                .flat_map(|group| cgroup::processes(group))
                .collect();
            for namespace in namespaces(prefix) {
                let listed =
                    exec::run(Command::new("ip").args(["netns", "pids", &namespace]))?.stdout;
                pids.extend(
                    listed
                        .lines()
                        .filter_map(|line| line.trim().parse::<i32>().ok()),
                );
            }
            for pid in &pids {
                let _gone = kill(Pid::from_raw(*pid), Signal::SIGKILL);
            }
            anyhow::ensure!(pids.is_empty(), "{} are left", pids.len());
            Ok(())
        },
    );
}

fn namespaces(prefix: &str) -> Vec<String> {
    let listed = fs::read_dir("/run/netns").into_iter().flatten().flatten();
    listed
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with(prefix))
        .collect()
}

/// Mount points below `dir`, the last made first.
fn mounts_below(dir: &Path) -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let points = mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(1))
        .map(PathBuf::from);
    let mut below: Vec<PathBuf> = points.filter(|point| point.starts_with(dir)).collect();
    below.reverse();
    below
}
