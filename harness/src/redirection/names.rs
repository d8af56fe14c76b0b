//! The addresses of names that are guard rails, found again now and then.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use linkerd_harness_core::names::HostPort;
use linkerd_harness_core::redirect::GuardRail;
use tokio::net::lookup_host;
use tokio::time::{Instant, sleep, timeout};

/// Between two questions, and after one without an answer. Nobody waits for it: what a connection needs was asked before.
const AGAIN: Duration = Duration::from_secs(60);
const RETRY: Duration = Duration::from_secs(5);

/// Names of many addresses are answered with some of them each time, so an address stays for longer than one answer.
const KEPT: Duration = Duration::from_secs(600);

/// For one name.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A name and the kind of guard rail that its addresses are.
pub(super) type Name = (HostPort, fn(SocketAddr) -> GuardRail);

/// The last addresses of each kind. A name that has no answer keeps them.
#[derive(Debug, Default)]
pub(super) struct Addresses(BTreeMap<GuardRail, Instant>);

impl Addresses {
    /// Takes an answer. An empty one is none.
    pub(super) fn take(&mut self, answer: Vec<GuardRail>) {
        if answer.is_empty() {
            return;
        }
        let now = Instant::now();
        let kinds: Vec<_> = answer.iter().map(std::mem::discriminant).collect();
        self.0.retain(|rail, since| {
            now.duration_since(*since) < KEPT || !kinds.contains(&std::mem::discriminant(rail))
        });
        self.0.extend(answer.into_iter().map(|rail| (rail, now)));
    }

    /// All of them.
    pub(super) fn rails(&self) -> impl Iterator<Item = GuardRail> {
        self.0.keys().cloned()
    }
}

/// Asks for all names after a pause; gives the answers, and how long to wait for the next question.
pub(super) async fn look_up(names: Vec<Name>, pause: Duration) -> (Vec<Vec<GuardRail>>, Duration) {
    sleep(pause).await;
    let mut next = AGAIN;
    let mut answers = Vec::new();
    for (name, rail) in names {
        let answer = timeout(TIMEOUT, lookup_host((name.host(), name.port()))).await;
        if let Ok(Ok(addresses)) = answer {
            answers.push(addresses.map(rail).collect());
        } else {
            tracing::debug!(%name, "no address for a guard rail");
            next = RETRY;
        }
    }
    (answers, next)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rails(addresses: &Addresses) -> Vec<GuardRail> {
        addresses.rails().collect()
    }

    fn mk(kind: fn(SocketAddr) -> GuardRail, address: &str) -> GuardRail {
        kind(address.parse().unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_stays_until_many_answers_are_without_it() {
        let one = mk(GuardRail::ControlPlane, "192.0.2.1:8081");
        let two = mk(GuardRail::ControlPlane, "192.0.2.2:8081");
        let spire = mk(GuardRail::SpireServer, "192.0.2.3:8081");
        let mut held = Addresses::default();
        held.take(vec![one.clone()]);
        held.take(vec![spire.clone()]);
        tokio::time::advance(AGAIN).await;
        held.take(vec![two.clone()]);
        assert_eq!(rails(&held), [one, two.clone(), spire.clone()]);
        tokio::time::advance(KEPT).await;
        held.take(vec![two.clone()]);
        assert_eq!(
            rails(&held),
            [two.clone(), spire.clone()],
            "of a name without an answer, the last one"
        );
        held.take(vec![]);
        assert_eq!(rails(&held), [two, spire]);
    }

    #[tokio::test]
    async fn addresses_are_answered_without_a_resolver() {
        let names: Vec<Name> = vec![
            ("192.0.2.1:8081".parse().unwrap(), GuardRail::ControlPlane),
            ("[2001:db8::1]:443".parse().unwrap(), GuardRail::SpireServer),
        ];
        let (answers, next) = look_up(names, Duration::ZERO).await;
        let found: Vec<GuardRail> = answers.concat();
        assert_eq!(
            found,
            [
                mk(GuardRail::ControlPlane, "192.0.2.1:8081"),
                mk(GuardRail::SpireServer, "[2001:db8::1]:443"),
            ]
        );
        assert_eq!(next, AGAIN);
    }
}
