//! Where holds and the turn of commands are kept: root's directory.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::privilege;
use crate::paths;

/// Which it is. Who is not root and finds none of root's has the daemon's.
pub(super) fn of(run_dir: &Path) -> PathBuf {
    let roots = paths::roots(run_dir);
    if privilege::is_root() || roots.is_dir() {
        roots
    } else {
        run_dir.to_owned()
    }
}

/// Makes it where it is missing, and answers whether it can be relied on.
pub(super) fn make(place: &Path) -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(place)?;
    let found = std::fs::symlink_metadata(place)?;
    if privilege::is_root() && (!found.is_dir() || found.uid() != 0 || found.mode() & 0o022 != 0) {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!(
                "`{}` is not a directory that only root writes",
                place.display()
            ),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    use super::*;

    #[test]
    fn root_relies_on_no_directory_that_another_can_write() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("place");
        make(&place).unwrap();
        make(&place).unwrap();
        let link = dir.path().join("link");
        symlink(&place, &link).unwrap();
        assert_eq!(make(&link).is_err(), privilege::is_root());
        std::fs::set_permissions(&place, PermissionsExt::from_mode(0o777)).unwrap();
        assert_eq!(make(&place).is_err(), privilege::is_root());
        std::fs::set_permissions(&place, PermissionsExt::from_mode(0o755)).unwrap();
        if privilege::is_root() {
            chown(&place, Some(42_424), None).unwrap();
            assert!(make(&place).is_err());
        }
    }
}
