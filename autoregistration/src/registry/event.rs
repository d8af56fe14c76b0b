//! What happens, and what to do about it.

use std::sync::Arc;
use std::time::Duration;

use linkerd_harness_api::v1::controller_message::Kind;
use linkerd_harness_api::v1::harness_message;

use super::census::Census;
use super::claims::{Claim, Claimed};
use super::hello::Hello;
use super::notices::Notice;
use super::{AskId, StreamId};
use crate::balance::Loads;
use crate::identity::SpiffeId;
use crate::linkerd::Settings;
use crate::manifests::Manifests;
use crate::refusal::Refusal;
use crate::store::{News, Wish};

/// What happens.
#[derive(Debug)]
pub enum Event {
    /// A harness said `Hello` on a new stream.
    Opened {
        /// The stream.
        stream: StreamId,
        /// Who its certificate says that it is.
        caller: SpiffeId,
        /// What it said, checked.
        hello: Box<Hello>,
    },
    /// A harness said something more.
    Heard {
        /// The stream.
        stream: StreamId,
        /// What it said; `None` when we don't know the kind.
        message: Option<Box<harness_message::Kind>>,
    },
    /// A stream is gone.
    Closed {
        /// The stream.
        stream: StreamId,
    },
    /// The manifests are these.
    Manifests(Arc<Manifests>),
    /// The settings of the mesh are these.
    Settings(Arc<Settings>),
    /// The store tells something.
    News(News),
    /// What the other replicas say of a claim that was an effect.
    Claimed {
        /// Whose claim it was.
        stream: StreamId,
        /// What they say.
        claimed: Claimed,
    },
    /// Another replica has a VM on a stream of its own and asks for it.
    Asked {
        /// To tell this question from others.
        ask: AskId,
        /// What it has.
        claim: Claim,
    },
    /// Whether it is for us to say that VMs are lost.
    Leading(bool),
    /// Who has a session on another replica.
    Census(Census),
    /// How many sessions the other replicas have.
    Loads(Loads),
    /// It is time to look at what is due.
    Tick,
    /// We will go down: harnesses are asked to go elsewhere within this time.
    Depart {
        /// They go one after the other.
        within: Duration,
    },
    /// We are going down.
    Shutdown,
}

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Tell a harness.
    Send(StreamId, Box<Kind>),
    /// End a stream: well, or with a refusal.
    End(StreamId, Option<Refusal>),
    /// Count how a `Hello` ended: `ASSIGNED`, `PENDING`, or the reason of its refusal.
    Count(&'static str),
    /// Ask the store for this.
    Wish(Wish),
    /// Ask the other replicas whether one of them has this VM.
    Claim(StreamId, Claim),
    /// Answer another replica.
    Answer(AskId, Claimed),
    /// Tell people of something.
    Notice(Box<Notice>),
    /// Count a harness that was asked to open another session.
    SentAway(&'static str),
    /// Count how a session ended.
    Ended(&'static str),
    /// Count what a harness said to its assignment.
    Acknowledged(&'static str),
    /// Count how a look for the lost ended.
    Swept(&'static str),
}
