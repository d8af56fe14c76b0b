//! What the registry wants done.

use linkerd_harness_api::v1::ControllerMessage;
use tracing::warn;

use super::{Link, Task};
use crate::registration::status;
use crate::registry::{Claimed, Effect, Event, Notice};

// === impl Task ===

impl Task {
    /// Does it; answers with what happens by that.
    pub(super) fn carry_out(&mut self, effect: Effect) -> Vec<Event> {
        match effect {
            Effect::Send(stream, kind) => {
                let message = Ok(ControllerMessage { kind: Some(*kind) });
                let outbox = self.outboxes.get(&stream);
                if outbox.is_some_and(|outbox| outbox.try_send(message).is_err()) {
                    // Either gone, which its own end will tell, or it does not read.
                    if let Some(outbox) = self.outboxes.remove(&stream)
                        && !outbox.is_closed()
                    {
                        warn!(stream, "session ended, its harness does not read");
                    }
                    return vec![Event::Closed { stream }];
                }
            }
            Effect::End(stream, refusal) => {
                if let Some(outbox) = self.outboxes.remove(&stream)
                    && let Some(refusal) = refusal
                {
                    // A full outbox is closed without the reason.
                    drop(outbox.try_send(Err(status::from_refusal(&refusal))));
                }
            }
            Effect::Count(outcome) => self.metrics.hello(outcome),
            Effect::Wish(wish) => match &mut self.store {
                Link::Memory(memory) => {
                    let news = memory.wish(self.started.elapsed(), wish);
                    return news.into_iter().map(Event::News).collect();
                }
                // The store ends only with the process.
                Link::Remote { wishes, .. } => drop(wishes.send(wish)),
            },
            Effect::Claim(stream, claim) => {
                let Some(others) = &self.others else {
                    let claimed = Claimed::Free;
                    return vec![Event::Claimed { stream, claimed }];
                };
                let claimed = (others.claim)(claim);
                self.claims.spawn(async move { (stream, claimed.await) });
            }
            Effect::Notice(notice) => {
                if let Some(others) = &self.others {
                    let Notice {
                        regarding,
                        event,
                        message,
                    } = *notice;
                    others.events.publish(regarding, event, &message);
                }
            }
            Effect::SentAway(reason) => self.metrics.goaway(reason),
            Effect::Ended(reason) => self.metrics.session_end(reason),
            Effect::Acknowledged(outcome) => self.metrics.config_ack(outcome),
            Effect::Swept(outcome) => self.metrics.sweep(outcome),
            Effect::Answer(ask, claimed) => {
                if let Some(reply) = self.asks.remove(&ask) {
                    let _hung_up = reply.send(claimed);
                }
            }
        }
        Vec::new()
    }
}
