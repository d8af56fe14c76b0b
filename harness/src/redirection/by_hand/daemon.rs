//! Whether it is the daemon that holds the daemon's lock. Its user can hold it as well, and as him runs the proxy too.

use std::fs::metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::privilege;
use crate::redirection::lock;

/// Whether the lock's holder is this very program and could change the rules. What cannot be told is a no.
pub(super) fn holds(file: &Path) -> bool {
    let is_daemon = |pid| is_daemon(pid).unwrap_or(false);
    lock::holder_of(file).is_some_and(is_daemon)
}

/// The program alone would not do, for anybody can start it: only with the capabilities does it own rules. They must count
/// here, since a user namespace of one's own gives them to everybody.
fn is_daemon(pid: u32) -> io::Result<bool> {
    for thing in ["exe", "ns/user", "ns/net"] {
        let theirs = metadata(format!("/proc/{pid}/{thing}"))?;
        let ours = metadata(format!("/proc/self/{thing}"))?;
        if (theirs.dev(), theirs.ino()) != (ours.dev(), ours.ino()) {
            return Ok(false);
        }
    }
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    Ok(privilege::is_enough(&status) == Some(true))
}
