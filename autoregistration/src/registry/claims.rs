//! A VM that comes to one replica may still have a stream on another.

use linkerd_harness_api::v1::{self, controller_message::Kind};

use super::name::Fingerprint;
use super::session::{Stage, Wait};
use super::workload::{Duty, Presence, Workload};
use super::{AskId, CHALLENGE, Effect, OUR_QUESTION, Registry, StreamId};
use crate::kubernetes::events::Reason as Event;
use crate::refusal::{Reason, Refusal};

/// "This VM is here, on a stream of mine."
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// What the VM is recognised by.
    pub fingerprint: Fingerprint,
    /// Its process.
    pub session_id: Vec<u8>,
    /// Orders the streams of that process.
    pub stream_seq: u64,
}

/// What becomes of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claimed {
    /// Nobody else has it, or not any more.
    Free,
    /// The same as far as is known: a replica could not be asked. It is as long as it lasts, and no longer: a VM may
    /// not be kept out by a cut between us, nor may its clone stay when the cut is mended.
    Unheard,
    /// Another replica has a newer stream of the same process.
    Superseded,
    /// Another process of the same machine and identity is on another replica, and alive.
    Held,
}

/// A question of another replica that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) holder: StreamId,
    /// When the holder's silence counts as an answer.
    pub(super) until: std::time::Duration,
}

// === impl Registry ===

impl Registry {
    /// What the others say of a VM that is waiting here.
    pub(super) fn take_claimed(&mut self, stream: StreamId, claimed: Claimed) {
        let Some(session) = self.sessions.get_mut(&stream) else {
            return;
        };
        if session.stage != Stage::Waiting(Wait::Replicas) {
            return self.take_claimed_late(stream, claimed);
        }
        self.claiming.retain(|_, claimant| *claimant != stream);
        match claimed {
            Claimed::Free | Claimed::Unheard => {
                session.claimed = true;
                if claimed == Claimed::Unheard {
                    self.unheard.add(stream, self.now);
                    self.due_at(self.unheard.due());
                }
                self.admit(stream);
            }
            Claimed::Superseded => self.refuse(stream, superseded()),
            Claimed::Held => self.refuse(stream, duplicate()),
        }
    }

    /// The same of a VM that was let in before all others could be asked.
    fn take_claimed_late(&mut self, stream: StreamId, claimed: Claimed) {
        if !self.unheard.answered(stream) {
            return;
        }
        let refusal = match claimed {
            Claimed::Free => return,
            Claimed::Unheard => {
                self.unheard.add(stream, self.now);
                return self.due_at(self.unheard.due());
            }
            Claimed::Superseded => superseded(),
            Claimed::Held => duplicate(),
        };
        self.tell_refused(stream, &refusal);
        self.give_up(stream, refusal);
    }

    /// Asks the others again for VMs of which one of them could not be asked.
    pub(super) fn sweep_unheard(&mut self) {
        for stream in self.unheard.take(self.now) {
            let Some(session) = self.sessions.get(&stream) else {
                continue;
            };
            let hello = &session.hello;
            let claim = Claim {
                fingerprint: Fingerprint::new(&hello.group, &session.caller, &hello.instance_id),
                session_id: hello.session_id.clone(),
                stream_seq: hello.stream_seq,
            };
            self.effects.push(Effect::Claim(stream, claim));
        }
    }

    /// Another replica has a VM that may be on a stream of ours.
    pub(super) fn take_claim(&mut self, ask: AskId, claim: &Claim) {
        let key = self.workloads.by_fingerprint(claim.fingerprint);
        let holder = key
            .and_then(|key| self.workloads.get(key))
            .and_then(Workload::stream)
            .and_then(|stream| Some((stream, self.sessions.get(&stream)?)));
        let Some((holder, session)) = holder else {
            let claimed = self.contend(claim);
            if claimed == Claimed::Free {
                self.hand_over(claim.fingerprint);
            }
            self.effects.push(Effect::Answer(ask, claimed));
            return;
        };
        if session.hello.session_id != claim.session_id {
            let until = self.now.saturating_add(CHALLENGE);
            self.asked.insert(ask, Asked { holder, until });
            self.challenged.insert(holder);
            self.due_at(until);
            self.send(
                holder,
                Kind::Heartbeat(v1::Heartbeat {
                    // Streams and questions are both counted from 1; which of them asks does not matter to a harness.
                    seq: OUR_QUESTION | ask,
                }),
            );
        } else if claim.stream_seq >= session.hello.stream_seq {
            self.give_up(holder, superseded());
            self.effects.push(Effect::Answer(ask, Claimed::Free));
        } else {
            self.effects.push(Effect::Answer(ask, Claimed::Superseded));
        }
    }

    /// Another replica has it now: whatever was still to be written here is over.
    fn hand_over(&mut self, fingerprint: Fingerprint) {
        let Some(key) = self.workloads.by_fingerprint(fingerprint).cloned() else {
            return;
        };
        if let Some(workload) = self.workloads.get_mut(&key)
            && matches!(workload.presence, Presence::Lost(_))
        {
            workload.presence = Presence::Lost(self.now);
            workload.duty = Duty::None;
        }
        self.settle(&key);
        // Whoever waits for its address waits in vain.
        self.admit_roomers();
    }

    /// Both replicas ask for a VM that neither has yet: the newer stream of a process wins; of two processes the one that
    /// both sides say.
    fn contend(&mut self, claim: &Claim) -> Claimed {
        let Some(stream) = self.claiming.get(&claim.fingerprint).copied() else {
            return Claimed::Free;
        };
        let Some(session) = self.sessions.get(&stream) else {
            return Claimed::Free;
        };
        let ours = &session.hello;
        if ours.session_id == claim.session_id {
            if claim.stream_seq < ours.stream_seq {
                return Claimed::Superseded;
            }
            self.claiming.remove(&claim.fingerprint);
            self.end(stream, Some(superseded()));
        } else if ours.session_id < claim.session_id {
            return Claimed::Held;
        }
        Claimed::Free
    }

    /// A sign of life from `holder`, or its end: those who ask for its VM are answered.
    pub(super) fn answer_asked(&mut self, holder: StreamId, claimed: Claimed) {
        let answered = self
            .asked
            .iter()
            .filter(|(_, asked)| asked.holder == holder)
            .map(|(ask, _)| *ask)
            .collect::<Vec<_>>();
        for ask in answered {
            self.asked.remove(&ask);
            self.effects.push(Effect::Answer(ask, claimed));
        }
    }

    /// Of the workload of a stream that did not answer.
    pub(super) fn notice_taken_over(&mut self, stream: StreamId) {
        if let Some(Stage::Joined(key)) = self.sessions.get(&stream).map(|session| &session.stage) {
            let key = key.clone();
            let message =
                "another process of its machine took the place of one that did not answer";
            self.notice_workload(&key, Event::TakenOver, message.to_owned());
        }
    }

    /// Ends a stream whose VM is on another replica now, which writes from now on.
    pub(super) fn give_up(&mut self, stream: StreamId, refusal: Refusal) {
        let joined = self
            .sessions
            .get(&stream)
            .and_then(|session| match &session.stage {
                Stage::Joined(key) => Some(key.clone()),
                Stage::Waiting(_) => None,
            });
        self.end(stream, Some(refusal));
        if let Some(key) = joined
            && let Some(workload) = self.workloads.get_mut(&key)
            && matches!(workload.presence, Presence::Lost(_))
        {
            workload.duty = Duty::None;
            self.settle(&key);
        }
    }

    /// What the holders did not answer in time.
    pub(super) fn sweep_asked(&mut self) {
        let now = self.now;
        let silent = self
            .asked
            .values()
            .filter(|asked| asked.until <= now)
            .map(|asked| asked.holder)
            .collect::<Vec<_>>();
        for holder in silent {
            self.notice_taken_over(holder);
            // Ends the questions too.
            self.give_up(holder, silent_holder());
        }
    }
}

pub(super) fn superseded() -> Refusal {
    Refusal::new(
        Reason::Superseded,
        "a newer stream of the same process took over",
    )
}

pub(super) fn duplicate() -> Refusal {
    Refusal::new(
        Reason::DuplicateInstance,
        "another machine with the same instance id and SPIFFE ID is registered and alive; \
         was this one cloned? give it its own machine-id",
    )
}

pub(super) fn silent_holder() -> Refusal {
    Refusal::new(
        Reason::DuplicateInstance,
        "another process of this machine registered and this one did not answer",
    )
}
