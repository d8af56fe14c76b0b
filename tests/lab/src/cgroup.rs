//! A control group of its own for each VM.
//!
//! Without it, two systemd-nspawn started from the same shell would share one `payload` group, and the systemd of one
//! VM would kill the processes of the other. It is also how a lab's processes are found again by name.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// Makes the group `name` in every hierarchy below our own one; answers the `cgroup.procs` files to enter it by.
pub fn make(name: &str) -> Result<Vec<PathBuf>> {
    let mut entries = Vec::new();
    for (mount, own) in hierarchies()? {
        let parent = mount.join(own.trim_start_matches('/'));
        let group = parent.join(name);
        fs::create_dir_all(&group)
            .with_context(|| format!("make control group `{}`", group.display()))?;
        // A cpuset takes no process before it has cores and memory.
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if parent.join(file).exists()
                && fs::read_to_string(group.join(file)).is_ok_and(|now| now.trim().is_empty())
            {
                let inherited = fs::read_to_string(parent.join(file))
                    .context("read the cpuset of our own group")?;
                if !inherited.trim().is_empty() {
                    fs::write(group.join(file), inherited.trim())
                        .context("set the cpuset of a VM")?;
                }
            }
        }
        entries.push(group.join("cgroup.procs"));
    }
    Ok(entries)
}

/// Every control group, anywhere, whose name starts with `prefix`.
pub fn named(prefix: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for (mount, _) in hierarchies().unwrap_or_default() {
        descend(&mount, &mut |group| {
            let ours = group
                .file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with(prefix));
            if ours {
                found.push(group.to_owned());
            }
            !ours
        });
    }
    found
}

/// The processes in `group` and below it.
pub fn processes(group: &Path) -> Vec<i32> {
    let mut pids = Vec::new();
    descend(group, &mut |group| {
        let listed = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
        pids.extend(listed.lines().filter_map(|line| line.parse::<i32>().ok()));
        true
    });
    pids
}

/// Removes `group` and all below it; what still has processes stays.
pub fn remove(group: &Path) {
    let mut groups = Vec::new();
    descend(group, &mut |group| {
        groups.push(group.to_owned());
        true
    });
    for group in groups.iter().rev() {
        let _busy = fs::remove_dir(group);
    }
}

/// Visits `top` and the directories below it, parents first, while `go_on` says so.
fn descend(top: &Path, go_on: &mut impl FnMut(&Path) -> bool) {
    if !go_on(top) {
        return;
    }
    for entry in fs::read_dir(top).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            descend(&entry.path(), go_on);
        }
    }
}

/// Mount point and our own place in it, for each mounted hierarchy.
fn hierarchies() -> Result<Vec<(PathBuf, String)>> {
    let own = fs::read_to_string("/proc/self/cgroup").context("read our control groups")?;
    let mounts = fs::read_to_string("/proc/self/mounts").context("read the mounts")?;
    Ok(own
        .lines()
        .filter_map(|line| place(line, &mounts))
        .collect())
}

/// One line of `/proc/self/cgroup` (`4:memory:/a/b`, or `0::/a/b` for version 2) and where its hierarchy is mounted.
fn place(line: &str, mounts: &str) -> Option<(PathBuf, String)> {
    let mut fields = line.splitn(3, ':').skip(1);
    let (controllers, path) = (fields.next()?, fields.next()?);
    let mount = mounts.lines().find_map(|mount| {
        let fields: Vec<&str> = mount.split(' ').collect();
        let (point, kind, options) = (fields.get(1)?, fields.get(2)?, fields.get(3)?);
        let matches = match (controllers, *kind) {
            ("", "cgroup2") => true,
            (named, "cgroup") if !named.is_empty() => named
                .split(',')
                .all(|one| options.split(',').any(|o| o == one)),
            _ => false,
        };
        matches.then(|| PathBuf::from(point))
    })?;
    Some((mount, path.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "cgroup /sys/fs/cgroup/memory cgroup rw,relatime,memory 0 0\n\
        cgroup /sys/fs/cgroup/cpu cgroup rw,relatime,cpu,cpuacct 0 0\n\
        cgroup /sys/fs/cgroup/systemd cgroup rw,relatime,name=systemd 0 0\n\
        cgroup2 /sys/fs/cgroup/unified cgroup2 rw,relatime 0 0\n";

    #[test]
    fn each_hierarchy_is_found_where_it_is_mounted() {
        let at =
            |line| place(line, MOUNTS).map(|(mount, path)| format!("{} {path}", mount.display()));
        assert_eq!(
            at("4:memory:/a/b").as_deref(),
            Some("/sys/fs/cgroup/memory /a/b")
        );
        assert_eq!(
            at("2:cpu,cpuacct:/").as_deref(),
            Some("/sys/fs/cgroup/cpu /")
        );
        assert_eq!(
            at("9:name=systemd:/").as_deref(),
            Some("/sys/fs/cgroup/systemd /")
        );
        assert_eq!(at("0::/").as_deref(), Some("/sys/fs/cgroup/unified /"));
        assert_eq!(at("5:rdma:/"), None);
    }
}
