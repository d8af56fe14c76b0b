//! Reads the configuration file.
//!
//! Its directory is writable by the daemon's unprivileged user, so nothing here or in [`replacement`] follows a symbolic
//! link at the end of the path, waits on a pipe, or edits what somebody else than root or the caller has put there.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;

use crate::failure::{FAILED, Failure, Outcome};

mod replacement;

pub(crate) use self::replacement::Replacement;

/// Longest configuration that we take.
const LENGTH_MAX: u64 = 1 << 20;

/// How every file here is opened.
const SAFELY: OFlag = OFlag::O_NOFOLLOW
    .union(OFlag::O_NONBLOCK)
    .union(OFlag::O_CLOEXEC);

/// The content of the configuration; `None` when there is no file.
pub(crate) fn read(path: &Path) -> Outcome<Option<Vec<u8>>> {
    let opened = File::options()
        .read(true)
        .custom_flags(SAFELY.bits())
        .open(path);
    match opened {
        Ok(file) => content(&file, path).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(cannot("read", path, error)),
    }
}

fn content(file: &File, path: &Path) -> Outcome<Vec<u8>> {
    let metadata = file
        .metadata()
        .map_err(|error| cannot("read", path, error))?;
    if !metadata.is_file() {
        return Err(cannot(
            "read",
            path,
            io::Error::other("it is not a regular file"),
        ));
    }
    let mut bytes = Vec::new();
    file.take(LENGTH_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| cannot("read", path, error))?;
    if bytes.len() as u64 > LENGTH_MAX {
        return Err(cannot(
            "read",
            path,
            io::Error::other("it is longer than 1 MiB"),
        ));
    }
    Ok(bytes)
}

/// A failure to do something with a path, in words that tell what to do about it.
fn cannot(what: &str, path: &Path, error: impl Into<io::Error>) -> Failure {
    let error: io::Error = error.into();
    let place = path.display();
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ELOOP) => Failure::new(
            FAILED,
            format!("cannot {what} {place}: it is a symbolic link, which is not followed"),
        )
        .hint("put the file itself there"),
        Some(Errno::EACCES | Errno::EPERM) => {
            Failure::new(FAILED, format!("cannot {what} {place}: permission denied"))
                .hint("only root may: put sudo in front of the command")
        }
        Some(errno) => Failure::new(
            FAILED,
            format!("cannot {what} {place}: {}", errno.desc().to_lowercase()),
        ),
        None => Failure::new(FAILED, format!("cannot {what} {place}: {error}")),
    }
}
