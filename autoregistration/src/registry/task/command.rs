//! What the task is asked.

use std::collections::BTreeMap;
use std::time::Duration;

use linkerd_harness_api::v1::{ControllerMessage, harness_message};
use tokio::sync::{mpsc, oneshot};
use tonic::Status;

use crate::identity::SpiffeId;
use crate::registry::group_totals::GroupTotals;
use crate::registry::hello::Hello;
use crate::registry::objects::{Objects, Totals};
use crate::registry::{Claim, Claimed, StreamId, Verdict};
use crate::store::Key;

/// Where the messages to one harness go. Bounded: one that does not read is ended and never holds up the others.
pub type Outbox = mpsc::Sender<Result<ControllerMessage, Status>>;

/// A request to the task. Those who ask wait when it has more to do than it can.
#[derive(Debug)]
pub enum Command {
    /// A stream began.
    Open {
        /// Number of the stream, never used before.
        stream: StreamId,
        /// Who it is.
        caller: SpiffeId,
        /// What it said.
        hello: Box<Hello>,
        /// Where to answer.
        outbox: Outbox,
    },
    /// Something was said on a stream.
    Heard {
        /// The stream.
        stream: StreamId,
        /// What.
        message: Option<Box<harness_message::Kind>>,
    },
    /// A stream ended.
    Closed {
        /// The stream.
        stream: StreamId,
    },
    /// What would become of this `Hello`?
    Check {
        /// Who asks.
        caller: SpiffeId,
        /// What it would say.
        hello: Box<Hello>,
        /// Where to answer.
        reply: oneshot::Sender<Verdict>,
    },
    /// What is the state, in full?
    Objects {
        /// Where to answer.
        reply: oneshot::Sender<Objects>,
    },
    /// How much is there of everything?
    Totals {
        /// Where to answer.
        reply: oneshot::Sender<Totals>,
    },
    /// How far has each group come?
    Groups {
        /// Where to answer.
        reply: oneshot::Sender<BTreeMap<Key, GroupTotals>>,
    },
    /// Which VMs have a stream here?
    Digest {
        /// Where to answer.
        reply: oneshot::Sender<Vec<[u8; 16]>>,
    },
    /// Another replica has this VM. The answer may take [`CHALLENGE`](crate::registry::CHALLENGE).
    Claim {
        /// What it has.
        claim: Claim,
        /// Where to answer.
        reply: oneshot::Sender<Claimed>,
    },
    /// Answered when the store has told of all that is there.
    Settled {
        /// Where to answer.
        reply: oneshot::Sender<()>,
    },
    /// We will go down: harnesses are asked to go elsewhere.
    Depart {
        /// They go one after the other within this time.
        within: Duration,
        /// Told when the last of them has gone.
        left: oneshot::Sender<()>,
    },
    /// We are going down: harnesses are told, then the task ends.
    Shutdown,
}

/// What the registry answers; `None` when it has ended.
pub async fn ask<T>(
    registry: &mpsc::Sender<Command>,
    question: impl FnOnce(oneshot::Sender<T>) -> Command,
) -> Option<T> {
    let (reply, answer) = oneshot::channel();
    registry.send(question(reply)).await.ok()?;
    answer.await.ok()
}
