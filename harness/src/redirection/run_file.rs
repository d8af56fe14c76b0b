//! Small files between root and the daemon.

use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::fcntl::OFlag;
use nix::unistd::geteuid;

/// Longest file that we take.
const LIMIT: u64 = 1024 * 1024;

/// Writes a file as a whole, readable by all.
///
/// The directory belongs to the daemon's user and the writer is root: an existing name, which may be a symbolic link, is
/// replaced and never written through.
pub(crate) fn write(run_dir: &Path, name: &str, text: &str) -> io::Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(run_dir)?;
    let fresh = run_dir.join(format!("{name}.new"));
    match std::fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o644)
        .open(&fresh)?;
    file.write_all(text.as_bytes())?;
    // The umask of a unit may have taken the readers away.
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
    std::fs::rename(&fresh, run_dir.join(name))
}

/// Reads a file that root or we ourselves wrote; `None` for any other, and for what is no file.
pub(crate) fn read_trusted(run_dir: &Path, name: &str) -> Option<String> {
    let (text, owner) = read(&run_dir.join(name)).ok()?;
    trusts(owner).then_some(text)
}

/// Whether a file of this user's says what root says.
pub(crate) fn trusts(owner: u32) -> bool {
    owner == 0 || owner == geteuid().as_raw()
}

/// Reads one, and whose it is. Root reads what the daemon's user may have planted: no link is followed, no writer waited for.
pub(crate) fn read(path: &Path) -> io::Result<(String, u32)> {
    let file = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits())
        .open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    let mut text = String::new();
    file.take(LIMIT).read_to_string(&mut text)?;
    Ok((text, metadata.uid()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_planted_link_is_replaced_and_its_target_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let victim = dir.path().join("victim");
        std::fs::write(&victim, "precious").unwrap();
        let run = dir.path().join("run");
        std::fs::create_dir(&run).unwrap();
        for name in ["file", "file.new"] {
            std::os::unix::fs::symlink(&victim, run.join(name)).unwrap();
        }
        write(&run, "file", "new").unwrap();
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious");
        assert_eq!(std::fs::read_to_string(run.join("file")).unwrap(), "new");
    }

    #[test]
    fn only_files_of_root_and_our_own_are_trusted() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "file", "text").unwrap();
        assert_eq!(read_trusted(dir.path(), "file").as_deref(), Some("text"));
        std::os::unix::fs::symlink(dir.path().join("file"), dir.path().join("link")).unwrap();
        assert_eq!(read_trusted(dir.path(), "link"), None);
        assert_eq!(read_trusted(dir.path(), "nothing"), None);
        if geteuid().is_root() {
            std::os::unix::fs::chown(dir.path().join("file"), Some(42_424), None).unwrap();
            assert_eq!(read_trusted(dir.path(), "file"), None);
        }
    }
}
