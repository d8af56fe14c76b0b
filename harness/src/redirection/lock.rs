//! The lock that all writers of legacy tables share.

use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::Path;

/// Compiled into every iptables. A lock file of our own would keep us from nobody: Docker, ufw and the rest take this one,
/// and two writers at once lose one's rules, for the legacy kernel interface replaces whole tables.
pub(super) const FILE: &str = "/run/xtables.lock";

/// Lets the daemon's group take the lock, as root: makes the file as iptables would, and adds the group as a reader, which
/// is enough to lock it. Whoever may lock it can make other writers wait, so it is one group and not everybody.
pub(super) fn share(file: &Path, group: u32) -> io::Result<()> {
    let lock = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o640)
        .open(file)?;
    let held = lock.metadata()?;
    if held.gid() != group {
        fchown(&lock, None, Some(group))?;
    }
    lock.set_permissions(PermissionsExt::from_mode(held.mode() & 0o7777 | 0o040))
}

/// Who holds the lock now, such as `pid 4242 (dockerd)`; `None` when that cannot be told. The name only where we may see
/// other processes.
pub(super) fn holder() -> Option<String> {
    let pid = holder_of(Path::new(FILE))?;
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok();
    Some(name.map_or_else(
        || format!("pid {pid}"),
        |name| format!("pid {pid} ({})", name.trim_end()),
    ))
}

/// The process that holds the lock of a file.
pub(super) fn holder_of(file: &Path) -> Option<u32> {
    let lock = std::fs::symlink_metadata(file).ok()?;
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    holder_in(&locks, lock.dev(), lock.ino())
}

/// A line of `proc_locks(5)`: `1: FLOCK  ADVISORY  WRITE 4242 00:1a:931 0 EOF`. One that waits has an arrow for its kind. A
/// holder in another pid namespace has no pid here.
fn holder_in(locks: &str, device: u64, inode: u64) -> Option<u32> {
    let (major, minor) = (nix::sys::stat::major(device), nix::sys::stat::minor(device));
    let file = format!("{major:02x}:{minor:02x}:{inode}");
    let mut held = locks.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        match words.as_slice() {
            [_, "FLOCK", _, _, pid, place, ..] if *place == file => pid.parse().ok(),
            _ => None,
        }
    });
    held.find(|pid| *pid != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_holds_the_lock_is_told_from_who_waits_for_it() {
        let locks = "1: POSIX  ADVISORY  WRITE 11 00:1a:931 0 EOF\n\
            2: -> FLOCK  ADVISORY  WRITE 12 00:1a:931 0 EOF\n\
            3: FLOCK  ADVISORY  WRITE 13 00:1a:932 0 EOF\n\
            4: FLOCK  ADVISORY  WRITE 14 00:1a:931 0 EOF\n";
        let device = nix::sys::stat::makedev(0, 0x1a);
        assert_eq!(holder_in(locks, device, 931), Some(14));
        assert_eq!(holder_in(locks, device, 1), None);
        assert_eq!(holder_in("nonsense\n", device, 931), None);
    }

    #[test]
    fn the_group_may_lock_and_nobody_else_may() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("xtables.lock");
        let group = std::fs::metadata(dir.path()).unwrap().gid();
        std::fs::write(&file, "").unwrap();
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
        for _ in 0..2 {
            share(&file, group).unwrap();
            assert_eq!(std::fs::metadata(&file).unwrap().mode() & 0o777, 0o640);
        }
    }
}
