//! What only root can find out about this host, and leaves for the daemon.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use linkerd_harness_core::names::HostPort;
use linkerd_harness_core::redirect::{GuardRail, SshdFound};
use serde::{Deserialize, Serialize};

use super::processes::{self, Process};
use super::{proc_net, run_file, spire, ssh_sessions, sshd};

/// In the run directory.
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
    /// TCP sockets that root listens with; those of an SSH server are among them.
    listeners: BTreeSet<u64>,
    /// The socket that the SPIRE agent listens with.
    agent: Option<u64>,
}

// === impl Found ===

impl Found {
    /// Looks, as root.
    pub(super) async fn look(api: &Path) -> io::Result<Self> {
        // First, so that what comes while we look leads to another look.
        let seen = Seen::now(api);
        let sockets = proc_net::sockets()?;
        let processes: Vec<Process> = processes::all();
        let spire = spire::find(api, &sockets, &processes).await;
        let mut rails = ssh_sessions::find(&sockets, &processes);
        rails.extend(spire.peers.into_iter().map(GuardRail::SpireServer));
        let ports = sshd::find(&sockets, &processes).await;
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

    /// Leaves it for the daemon.
    pub(super) fn leave(&self, run_dir: &Path) -> io::Result<()> {
        run_file::write(run_dir, FILE, &serde_json::to_string(self)?)
    }

    /// What root left. Where that is nothing, or nothing that makes sense, port 22 is assumed.
    pub(super) fn left(run_dir: &Path) -> Self {
        let text = run_file::read(&run_dir.join(FILE)).ok();
        let mut found: Self = text
            .and_then(|(text, _)| serde_json::from_str(&text).ok())
            .unwrap_or_default();
        if !found
            .rails
            .iter()
            .any(|rail| matches!(rail, GuardRail::Sshd { .. }))
        {
            found.rails.insert(GuardRail::Sshd {
                port: sshd::USUAL_PORT,
                found: SshdFound::Assumed,
            });
        }
        found
    }

    /// Whether another look may find more though nothing new is to be seen: an agent that does not reach its server opens
    /// no socket.
    pub(super) fn lacks_spire(&self) -> bool {
        self.spire_server.is_none() && self.seen.agent.is_none()
    }
}

// === impl Seen ===

impl Seen {
    /// What is there now.
    pub(super) fn now(api: &Path) -> Self {
        let of_root = proc_net::listeners()
            .into_iter()
            .filter(|socket| socket.uid == 0);
        Self {
            listeners: of_root.map(|socket| socket.inode).collect(),
            agent: proc_net::unix_listener(api),
        }
    }

    /// Whether there is something that was not there before.
    pub(super) fn is_news_since(&self, before: &Self) -> bool {
        !self.listeners.is_subset(&before.listeners)
            || self.agent.is_some() && self.agent != before.agent
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
                listeners: BTreeSet::from([1, 2]),
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
        std::fs::write(dir.path().join(FILE), "22 listening\n").unwrap();
        assert_eq!(Found::left(dir.path()).rails, assumed);
    }

    #[test]
    fn what_is_new_is_news_and_what_is_gone_is_not() {
        let seen = |listeners: &[u64], agent| Seen {
            listeners: listeners.iter().copied().collect(),
            agent,
        };
        let before = seen(&[1, 2], Some(9));
        for (now, news) in [
            (seen(&[1, 2], Some(9)), false),
            (seen(&[1], Some(9)), false),
            (seen(&[], None), false),
            (seen(&[1, 3], Some(9)), true),
            (seen(&[1, 2], Some(10)), true),
        ] {
            assert_eq!(now.is_news_since(&before), news, "{now:?}");
        }
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
}
