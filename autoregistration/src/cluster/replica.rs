//! Between the registry's task and the other replicas.

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::sync::{mpsc, watch};

use crate::peer::{Peers, Sessions};
use crate::registry::task::{Command, ask};
use crate::registry::{Claim, Claimed};

/// The sessions of this replica, for the others.
#[derive(Clone, Debug)]
pub(super) struct Replica {
    commands: mpsc::Sender<Command>,
}

// === impl Replica ===

impl Replica {
    pub(super) fn new(commands: mpsc::Sender<Command>) -> Self {
        Self { commands }
    }
}

impl Sessions for Replica {
    async fn digest(&self) -> Option<Vec<[u8; 16]>> {
        ask(&self.commands, |reply| Command::Digest { reply }).await
    }

    async fn count(&self) -> Option<usize> {
        let totals = ask(&self.commands, |reply| Command::Totals { reply }).await?;
        Some(totals.sessions_joined + totals.sessions_waiting)
    }

    async fn claim(&self, claim: Claim) -> Claimed {
        let answer = ask(&self.commands, |reply| Command::Claim { claim, reply }).await;
        // A registry that has ended has no sessions.
        answer.unwrap_or(Claimed::Free)
    }
}

/// Asks the others for a VM.
pub(super) fn claims(
    peers: Peers,
) -> Box<dyn Fn(Claim) -> BoxFuture<'static, Claimed> + Send + Sync> {
    Box::new(move |claim| {
        let peers = peers.clone();
        async move { peers.claim(&claim).await }.boxed()
    })
}

/// Comes when it is said.
pub(super) async fn until(mut said: watch::Receiver<bool>) {
    // An error means that nobody can say it any more, which is an end as well.
    drop(said.wait_for(|said| *said).await);
}

/// Comes when the registry has heard of all workloads that there were at the start.
pub(super) async fn settled(commands: &mpsc::Sender<Command>) {
    // A registry that has ended ends the process.
    ask(commands, |reply| Command::Settled { reply }).await;
}
