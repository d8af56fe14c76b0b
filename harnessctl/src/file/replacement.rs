//! Replaces the configuration file: whole or not at all, one writer at a time.

use std::ffi::{OsStr, OsString};
use std::fs::{File, TryLockError};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, renameat};
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::{UnlinkatFlags, geteuid, unlinkat};

use super::{SAFELY, cannot, content};
use crate::failure::{FAILED, Failure, Outcome};

/// Everybody may read the configuration, it holds no secret; whatever the caller's umask.
const MODE: Mode = Mode::from_bits_truncate(0o644);
/// How long we wait for other writers, and how often we look.
const PATIENCE: Duration = Duration::from_secs(5);
const INTERVAL: Duration = Duration::from_millis(10);

/// The exclusive right to replace one file, until it is dropped.
#[derive(Debug)]
pub(crate) struct Replacement {
    path: PathBuf,
    name: OsString,
    /// Locked, and what every name is relative to: no other part of the path is resolved twice.
    directory: File,
}

/// A new file beside the old one, which is gone again unless it took its place.
struct Draft<'a> {
    directory: &'a File,
    name: OsString,
    file: File,
}

// === impl Replacement ===

impl Replacement {
    /// Waits until no other writer is at work. An existing file keeps its content until [`Self::finish`].
    pub(crate) fn begin(path: &Path) -> Outcome<Self> {
        let name = path
            .file_name()
            .ok_or_else(|| Failure::new(FAILED, format!("{} names no file", path.display())))?;
        let parent = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        let directory = File::options()
            .read(true)
            .custom_flags(OFlag::O_DIRECTORY.bits())
            .open(parent)
            .map_err(|error| cannot("open", parent, error))?;
        lock(&directory, parent)?;
        Ok(Self {
            path: path.to_owned(),
            name: name.to_owned(),
            directory,
        })
    }

    /// The content to be replaced; `None` when there is no file.
    pub(crate) fn current(&self) -> Outcome<Option<Vec<u8>>> {
        let opened = openat(
            &self.directory,
            self.name.as_os_str(),
            SAFELY | OFlag::O_RDONLY,
            Mode::empty(),
        );
        let file = match opened {
            Ok(descriptor) => File::from(descriptor),
            Err(Errno::ENOENT) => return Ok(None),
            Err(errno) => return Err(cannot("read", &self.path, errno)),
        };
        let bytes = content(&file, &self.path)?;
        let owner = file
            .metadata()
            .map_err(|error| cannot("read", &self.path, error))?
            .uid();
        if owner != 0 && owner != geteuid().as_raw() {
            let place = self.path.display();
            let text =
                format!("{place} belongs to uid {owner}, who may have written anything into it");
            return Err(Failure::new(FAILED, text)
                .hint(format!("read it, and if it is right: chown root {place}")));
        }
        Ok(Some(bytes))
    }

    /// Puts the new content in place of the old one, on the disk too.
    pub(crate) fn finish(self, text: &str) -> Outcome {
        self.write(text)
            .map_err(|error| cannot("write", &self.path, error))
    }

    fn write(&self, text: &str) -> io::Result<()> {
        let mut draft = Draft::create(&self.directory, &self.name)?;
        draft.file.write_all(text.as_bytes())?;
        fchmod(&draft.file, MODE)?;
        draft.file.sync_all()?;
        draft.publish(&self.name)?;
        self.directory.sync_all()
    }
}

// === impl Draft ===

impl<'a> Draft<'a> {
    /// The name cannot be foreseen, so that nobody can put a file there to be in the way.
    fn create(directory: &'a File, target: &OsStr) -> io::Result<Self> {
        let random = RandomState::new().build_hasher().finish();
        let mut name = OsString::from(".");
        name.push(target);
        name.push(format!(".{random:016x}"));
        let flags = SAFELY | OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL;
        let descriptor = openat(directory, name.as_os_str(), flags, MODE)?;
        Ok(Self {
            directory,
            name,
            file: File::from(descriptor),
        })
    }

    /// Takes the target's place in one step; a symbolic link there is replaced, not followed.
    fn publish(self, target: &OsStr) -> io::Result<()> {
        renameat(
            self.directory,
            self.name.as_os_str(),
            self.directory,
            target,
        )?;
        Ok(())
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        // Fails after `publish`, when the name is gone; otherwise there is nothing else to try.
        unlinkat(
            self.directory,
            self.name.as_os_str(),
            UnlinkatFlags::NoRemoveDir,
        )
        .unwrap_or_default();
    }
}

fn lock(directory: &File, path: &Path) -> Outcome {
    let begin = Instant::now();
    loop {
        match directory.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) if begin.elapsed() < PATIENCE => thread::sleep(INTERVAL),
            Err(TryLockError::WouldBlock) => {
                let place = path.display();
                let text = format!("another program has locked {place} for more than {PATIENCE:?}");
                return Err(Failure::new(FAILED, text)
                    .hint(format!("try again; who it is: fuser -v {place}")));
            }
            Err(TryLockError::Error(error)) => return Err(cannot("lock", path, error)),
        }
    }
}
