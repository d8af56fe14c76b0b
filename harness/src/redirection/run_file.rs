//! Small files that root leaves for the daemon.

use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

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
}
