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

#[cfg(test)]
mod tests {
    use super::*;

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
