//! The processes of this host as root sees them: whose they are, and which sockets they hold.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Descriptors of one process that are looked at.
const DESCRIPTORS_MAX: usize = 4096;

/// Longest file of a process that is read.
const FILE_MAX: u64 = 1 << 18;

/// Set-user-id and set-group-id.
const SET_ID: u32 = 0o6000;

/// One process. What it says of itself, its name, its arguments, its environment, anybody can make up; its users and its
/// program not.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Process {
    directory: PathBuf,
    /// Real, effective, saved, file system.
    uids: [u32; 4],
    /// The name of the program's file, which is what runs, by whatever link it was started.
    program: String,
    /// Set-user-id or set-group-id: who started it is not who it runs as.
    starts_as_another: bool,
}

/// All of them. Processes that end while we look are left out, and so are the kernel's own.
pub(super) fn all() -> Vec<Process> {
    entries(Path::new("/proc"))
        .filter(|directory| is_process(directory))
        .filter_map(Process::read)
        .collect()
}

fn is_process(directory: &Path) -> bool {
    let name = directory.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| name.parse::<u32>().is_ok())
}

impl Process {
    /// The one of this number.
    pub(super) fn of_pid(pid: u32) -> Option<Self> {
        Self::read(Path::new("/proc").join(pid.to_string()))
    }

    fn read(directory: PathBuf) -> Option<Self> {
        // Twice, with the program between: another may be started meanwhile.
        let uids = || uids(&std::fs::read_to_string(directory.join("status")).ok()?);
        let before = uids()?;
        let exe = directory.join("exe");
        let program = std::fs::read_link(&exe).ok()?;
        let program = program.file_name()?.to_string_lossy().into_owned();
        let mode = std::fs::metadata(&exe).ok()?.permissions().mode();
        let uids = uids().filter(|after| *after == before)?;
        Some(Self {
            uids,
            program: program
                .strip_suffix(" (deleted)")
                .unwrap_or(&program)
                .to_owned(),
            starts_as_another: mode & SET_ID != 0,
            directory,
        })
    }

    /// Whether root started it. A program that others may start as root, such as sudo, is not counted, whatever it makes
    /// of its users.
    pub(super) fn is_roots(&self) -> bool {
        self.is_of(0)
    }

    /// Whether this user alone stands behind it.
    pub(super) fn is_of(&self, uid: u32) -> bool {
        self.uids == [uid; 4] && !self.starts_as_another
    }

    /// Whether it runs one of these programs.
    pub(super) fn runs(&self, programs: &[&str]) -> bool {
        programs.contains(&self.program.as_str())
    }

    /// Inodes of the sockets that it has open.
    pub(super) fn sockets(&self) -> BTreeSet<u64> {
        let sockets = entries(&self.directory.join("fd"))
            .take(DESCRIPTORS_MAX)
            .filter_map(|descriptor| socket_inode(std::fs::read_link(descriptor).ok()?.to_str()?))
            .collect();
        // They are of whoever it is now.
        match Self::read(self.directory.clone()) {
            Some(now) if now == *self => sockets,
            _ => BTreeSet::new(),
        }
    }

    /// A small file of the process, or its beginning; empty when it cannot be read.
    pub(super) fn file(&self, name: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        let read = File::open(self.directory.join(name))
            .and_then(|file| file.take(FILE_MAX).read_to_end(&mut bytes));
        read.map_or_else(|_| Vec::new(), |_| bytes)
    }

    /// Whether its packets are this host's own, and do not only pass through it.
    pub(super) fn shares_our_network(&self) -> bool {
        let of = |directory: &Path| std::fs::read_link(directory.join("ns/net")).ok();
        of(&self.directory).is_some_and(|net| Some(net) == of(Path::new("/proc/thread-self")))
    }

    /// Where a path of the process leads, from its working directory and in its root directory.
    pub(super) fn path(&self, path: &str) -> PathBuf {
        match path.strip_prefix('/') {
            Some(below) => self.directory.join("root").join(below),
            None => self.directory.join("cwd").join(path),
        }
    }
}

fn entries(directory: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.path())
}

/// `Uid:` in `/proc/<pid>/status`.
fn uids(status: &str) -> Option<[u32; 4]> {
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    let uids: Result<Vec<u32>, _> = line.split_ascii_whitespace().map(str::parse).collect();
    uids.ok()?.try_into().ok()
}

/// `socket:[4242]`.
fn socket_inode(link: &str) -> Option<u64> {
    link.strip_prefix("socket:[")?
        .strip_suffix(']')?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_process_is_found_with_its_sockets_and_files() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let sockets = super::super::proc_net::sockets().unwrap();
        let ours = sockets.iter().find(|socket| socket.local.port() == port);
        let ours = ours.unwrap().inode;
        let all = all();
        let process = all.iter().find(|process| process.sockets().contains(&ours));
        let process = process.unwrap();
        assert!(process.is_of(nix::unistd::geteuid().as_raw()));
        assert!(process.shares_our_network());
        assert!(!process.file("cmdline").is_empty());
        assert!(process.path("/etc").is_dir());
        assert!(process.path("Cargo.toml").is_file());
        assert_eq!(socket_inode("pipe:[4242]"), None);
    }

    #[test]
    fn who_stands_behind_a_process_are_all_its_users() {
        let status = "Name:\tsshd\nUid:\t1000\t0\t0\t0\nGid:\t0\t0\t0\t0\n";
        assert_eq!(uids(status), Some([1000, 0, 0, 0]));
        assert_eq!(uids("Name:\tUid:\n"), None);
        assert_eq!(uids("Uid:\t0\t0\t0\n"), None);
    }

    #[test]
    fn a_name_and_a_program_for_everybody_make_no_server_of_root() {
        let dir = tempfile::tempdir().unwrap();
        let sleep = |file: &str, mode| {
            let path = dir.path().join(file);
            std::fs::copy("/bin/sleep", &path).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            path
        };
        let us = nix::unistd::geteuid().as_raw();
        let look = |program: &Path| {
            let mut child = std::process::Command::new(program)
                .arg("3600")
                .spawn()
                .unwrap();
            let process = Process::of_pid(child.id()).unwrap();
            child.kill().unwrap();
            child.wait().unwrap();
            process
        };
        let server = look(&sleep("sshd", 0o755));
        assert!(server.runs(&["sshd"]) && server.is_of(us));
        // As sudo, which makes all its users root.
        let for_everybody = sleep("su", 0o4755);
        assert!(!look(&for_everybody).is_of(us));
        let link = dir.path().join("dropbear");
        std::os::unix::fs::symlink(&for_everybody, &link).unwrap();
        let posing = look(&link);
        assert!(!posing.runs(&["sshd", "dropbear"]) && !posing.is_roots());
    }
}
