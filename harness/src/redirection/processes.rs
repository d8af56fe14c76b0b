//! The processes of this host as root sees them: whose they are, and which sockets they hold.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// One process. What it says of itself, its name, its arguments, its environment, anybody can make up; its user not.
#[derive(Debug)]
pub(super) struct Process {
    directory: PathBuf,
    pub(super) uid: u32,
    /// `/proc/<pid>/comm`.
    pub(super) name: String,
    /// Inodes of the sockets that it has open.
    pub(super) sockets: BTreeSet<u64>,
}

/// All of them. Processes that end while we look are left out.
pub(super) fn all() -> Vec<Process> {
    entries(Path::new("/proc"))
        .filter_map(Process::read)
        .collect()
}

impl Process {
    fn read(directory: PathBuf) -> Option<Self> {
        directory.file_name()?.to_str()?.parse::<u32>().ok()?;
        let name = std::fs::read_to_string(directory.join("comm")).ok()?;
        let sockets = entries(&directory.join("fd"))
            .filter_map(|descriptor| socket_inode(std::fs::read_link(descriptor).ok()?.to_str()?))
            .collect();
        Some(Self {
            uid: std::fs::metadata(&directory).ok()?.uid(),
            name: name.trim_end().to_owned(),
            sockets,
            directory,
        })
    }

    /// A small file of the process; empty when it cannot be read.
    pub(super) fn file(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.directory.join(name)).unwrap_or_default()
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
        let process = all.iter().find(|process| process.sockets.contains(&ours));
        let process = process.unwrap();
        assert_eq!(process.uid, nix::unistd::geteuid().as_raw());
        assert!(process.shares_our_network());
        assert!(!process.file("cmdline").is_empty());
        assert!(process.path("/etc").is_dir());
        assert!(process.path("Cargo.toml").is_file());
        assert_eq!(socket_inode("pipe:[4242]"), None);
    }
}
