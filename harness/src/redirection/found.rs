//! What only root can find out about this host, and leaves for the daemon.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::Path;

use linkerd_harness_core::names::HostPort;
use linkerd_harness_core::redirect::{GuardRail, SshdFound};
use serde::{Deserialize, Serialize};

use super::{proc_net, processes, run_file, spire, ssh_sessions, sshd};

/// In root's directory: what is exempt, the daemon's user, which is the proxy's too, may not say.
const FILE: &str = "guard-rails.json";

/// Where the daemon writes to have root look again: the unit `linkerd-proxy-harness-rails.path` waits for it.
const LOOK_AGAIN: &str = "look-again";

/// What root found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Found {
    /// The ports of the SSH server, the open sessions, the addresses that the SPIRE agent is connected with.
    pub(super) rails: BTreeSet<GuardRail>,
    /// The server that the SPIRE agent is configured for.
    pub(super) spire_server: Option<HostPort>,
    /// What was there when root looked.
    pub(super) seen: Seen,
}

/// What anybody can see of what root looks into: when there is more of it, another look may find more.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Seen {
    /// TCP sockets that root listens with, as one number however many they are; those of an SSH server are among them.
    listeners: u64,
    /// The socket that somebody listens with where the SPIRE agent would. A hint only.
    agent: Option<u64>,
}

// === impl Found ===

impl Found {
    /// Looks, as root.
    pub(super) async fn look(api: &Path) -> io::Result<Self> {
        // First, so that what comes while we look leads to another look.
        let seen = Seen::now(api);
        let unit = spire::unit().await;
        let path = api.to_owned();
        // Files of other users' processes may be slow to read.
        let scan = move || {
            let sockets = proc_net::sockets()?;
            let processes = processes::all();
            let spire = spire::find(&path, &unit, &sockets, &processes);
            let sessions = ssh_sessions::find(&sockets, &processes);
            let ports = sshd::listening_ports(&sockets, &processes);
            io::Result::Ok((spire, sessions, ports))
        };
        let scanned = tokio::task::spawn_blocking(scan).await;
        let (spire, mut rails, ports) = scanned.map_err(io::Error::other)??;
        rails.extend(spire.peers.into_iter().map(GuardRail::SpireServer));
        let ports = sshd::with_configured(ports).await;
        rails.extend(
            ports
                .into_iter()
                .map(|(port, found)| GuardRail::Sshd { port, found }),
        );
        Ok(Self {
            rails,
            spire_server: spire.server,
            seen,
        })
    }

    /// Leaves it for the daemon, in root's directory.
    pub(super) fn leave(&self, answers: &Path) -> io::Result<()> {
        run_file::write(answers, FILE, &serde_json::to_string(self)?)
    }

    /// What root left; nothing where it left nothing.
    ///
    /// # Errors
    /// There is something, and it is not root's or makes no sense.
    pub(super) fn read(answers: &Path) -> io::Result<Self> {
        let found = match run_file::read(&answers.join(FILE)) {
            Ok((text, owner)) if run_file::trusts(owner) => serde_json::from_str(&text)?,
            Ok((_, owner)) => {
                return Err(io::Error::other(format!("it belongs to user {owner}")));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::default(),
            Err(error) => return Err(error),
        };
        Ok(found.with_some_sshd())
    }

    /// The same; nothing too where it makes no sense.
    pub(super) fn left(answers: &Path) -> Self {
        Self::read(answers).unwrap_or_else(|_| Self::default().with_some_sshd())
    }

    /// Where there is no SSH server, port 22 is assumed.
    fn with_some_sshd(mut self) -> Self {
        let is_sshd = |rail: &GuardRail| matches!(rail, GuardRail::Sshd { .. });
        if !self.rails.iter().any(is_sshd) {
            self.rails.insert(GuardRail::Sshd {
                port: sshd::USUAL_PORT,
                found: SshdFound::Assumed,
            });
        }
        self
    }

    /// Whether another look may find more though nothing new is to be seen: an agent that does not reach its server opens
    /// no socket.
    pub(super) fn lacks_spire(&self) -> bool {
        let is_spire = |rail: &GuardRail| matches!(rail, GuardRail::SpireServer(_));
        self.spire_server.is_none() && !self.rails.iter().any(is_spire)
    }
}

// === impl Seen ===

impl Seen {
    /// What is there now.
    pub(super) fn now(api: &Path) -> Self {
        let of_root = proc_net::listeners()
            .into_iter()
            .filter(|socket| socket.uid == 0);
        let of_root: BTreeSet<u64> = of_root.map(|socket| socket.inode).collect();
        let mut listeners = DefaultHasher::new();
        of_root.hash(&mut listeners);
        Self {
            listeners: listeners.finish(),
            agent: proc_net::unix_listener(api),
        }
    }

    /// Whether there is something that was not there before, or a listener less.
    pub(super) fn is_news_since(&self, before: &Self) -> bool {
        self.listeners != before.listeners || self.agent.is_some() && self.agent != before.agent
    }
}

/// Asks root to look again. Where nobody waits for it, the next start does.
pub(super) fn ask_for_another_look(run_dir: &Path) -> io::Result<()> {
    std::fs::write(run_dir.join(LOOK_AGAIN), "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_root_leaves_the_daemon_reads() {
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path().join("made-if-missing");
        let found = Found {
            rails: BTreeSet::from([
                GuardRail::Sshd {
                    port: 2222,
                    found: SshdFound::SocketUnit,
                },
                GuardRail::SpireServer("192.0.2.1:8081".parse().unwrap()),
            ]),
            spire_server: Some("spire.example:8081".parse().unwrap()),
            seen: Seen {
                listeners: 12,
                agent: Some(3),
            },
        };
        found.leave(&run).unwrap();
        assert_eq!(Found::left(&run), found);
    }

    #[test]
    fn without_it_and_with_nonsense_port_22_is_safe() {
        let dir = tempfile::tempdir().unwrap();
        let assumed = BTreeSet::from([GuardRail::Sshd {
            port: 22,
            found: SshdFound::Assumed,
        }]);
        assert_eq!(Found::left(dir.path()).rails, assumed);
        assert_eq!(Found::read(dir.path()).unwrap().rails, assumed);
        std::fs::write(dir.path().join(FILE), "22 listening\n").unwrap();
        assert_eq!(Found::left(dir.path()).rails, assumed);
        assert!(Found::read(dir.path()).is_err(), "the earlier ones hold");
    }

    #[test]
    fn what_changes_is_news_and_an_agent_that_is_gone_is_not() {
        let seen = |listeners, agent| Seen { listeners, agent };
        let before = seen(1, Some(9));
        for (now, news) in [
            (seen(1, Some(9)), false),
            (seen(1, None), false),
            (seen(2, Some(9)), true),
            (seen(1, Some(10)), true),
        ] {
            assert_eq!(now.is_news_since(&before), news, "{now:?}");
        }
    }

    #[test]
    fn the_most_that_root_may_find_is_read_whole() {
        let dir = tempfile::tempdir().unwrap();
        let sshd = (1..=4096).map(|port| GuardRail::Sshd {
            port,
            found: SshdFound::SocketUnit,
        });
        let session = |last: u32| GuardRail::SshSession {
            peer: std::net::Ipv6Addr::from(u128::MAX - u128::from(last)).into(),
            port: 65535,
        };
        let found = Found {
            rails: sshd.chain((0..256).map(session)).collect(),
            ..Found::default()
        };
        found.leave(dir.path()).unwrap();
        assert_eq!(Found::read(dir.path()).unwrap(), found);
    }

    #[tokio::test]
    async fn a_look_at_this_machine_finds_a_port_for_ssh() {
        let found = Found::look(Path::new("/nonexistent")).await.unwrap();
        assert!(
            found
                .rails
                .iter()
                .any(|rail| matches!(rail, GuardRail::Sshd { .. }))
        );
    }

    #[test]
    fn what_another_user_left_is_not_believed() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let found = Found {
            spire_server: Some("spire.example:8081".parse().unwrap()),
            ..Found::default()
        };
        found.leave(dir.path()).unwrap();
        std::os::unix::fs::chown(dir.path().join(FILE), Some(42_424), None).unwrap();
        assert!(Found::read(dir.path()).is_err());
        assert_eq!(Found::left(dir.path()).spire_server, None);
    }
}
