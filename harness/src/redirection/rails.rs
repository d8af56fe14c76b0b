//! The guard rails that only this host can tell. Root finds them ([`Found`]); names among them are resolved here; and where
//! the controller was reached is one too.
//!
//! What is not seen: a session that began after root's last look (it came in through the rules as they are, and goes on),
//! a server in a network namespace of its own (its packets only pass through), an SSH server that is not root's.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use linkerd_harness_core::config::Config;
use linkerd_harness_core::names::HostPort;
use linkerd_harness_core::redirect::GuardRail;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::{info, warn};

use super::found::{self, Found, Seen};
use super::names::{self, Addresses, Name};
use crate::registration;

/// How often root's findings are read, and compared with what there is to find. Small files, all of them.
const TICK: Duration = Duration::from_secs(5);

/// How often root looks while there is no trace of a SPIRE agent.
const LOOK_FOR_SPIRE: Duration = Duration::from_secs(30);

/// How often root is asked for the same.
const ASK_AGAIN: Duration = Duration::from_secs(60);

/// What the guard rails are made of.
#[derive(Debug)]
pub struct Inputs {
    /// The host's configuration: the controller, the Workload API.
    pub config: Arc<Config>,
    /// Where root leaves what it finds.
    pub answers: PathBuf,
    /// Where root is asked to look again.
    pub run_dir: PathBuf,
    /// The session with autoregistration.
    pub registration: watch::Receiver<registration::State>,
}

/// The guard rails that are known without asking anybody, to begin with. Needs no root.
pub fn at_start(config: &Config, answers: &Path) -> BTreeSet<GuardRail> {
    known(config, &Found::left(answers))
        .filter(|rail| !rail.is_on_this_host())
        .collect()
}

/// The guard rails as they are now. A name that has no address in time is left out.
pub(super) async fn now(config: &Config, answers: &Path) -> BTreeSet<GuardRail> {
    let found = Found::left(answers);
    let (answers, _) = names::look_up(names(config, &found), Duration::ZERO).await;
    let resolved = answers.into_iter().flatten();
    known(config, &found)
        .chain(resolved)
        .filter(|rail| !rail.is_on_this_host())
        .collect()
}

/// Keeps them true for as long as somebody watches.
pub async fn supervise(mut inputs: Inputs, rails: watch::Sender<BTreeSet<GuardRail>>) {
    let mut found = Found::left(&inputs.answers);
    let mut makes_sense = true;
    let mut asked = found.seen.clone();
    let mut last_asked = Instant::now();
    let mut addresses = Addresses::default();
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let look_up = |found: &Found, pause| names::look_up(names(&inputs.config, found), pause);
    let mut answers = Box::pin(look_up(&found, Duration::ZERO));
    loop {
        let controller = inputs.registration.borrow_and_update().peer;
        let next = known(&inputs.config, &found)
            .chain(addresses.rails())
            .chain(controller.map(GuardRail::ControlPlane))
            .filter(|rail| !rail.is_on_this_host())
            .collect();
        publish(&rails, next);
        tokio::select! {
            _ = tick.tick() => {
                let left = match Found::read(&inputs.answers) {
                    Ok(left) => {
                        makes_sense = true;
                        left
                    }
                    Err(error) => {
                        if std::mem::take(&mut makes_sense) {
                            warn!(%error, "cannot read what root found; what it found before holds");
                        }
                        found.clone()
                    }
                };
                if left.spire_server != found.spire_server {
                    answers.set(look_up(&left, Duration::ZERO));
                }
                found = left;
                let now = Seen::now(&inputs.config.identity.spire_socket);
                let overdue = found.lacks_spire() && last_asked.elapsed() >= LOOK_FOR_SPIRE;
                // Root may not have looked: nobody waits for the file, or the look failed.
                let unanswered = now.is_news_since(&asked) || last_asked.elapsed() >= ASK_AGAIN;
                if overdue || now.is_news_since(&found.seen) && unanswered {
                    last_asked = Instant::now();
                    if let Err(error) = found::ask_for_another_look(&inputs.run_dir) {
                        warn!(%error, "cannot ask for another look at sshd and SPIRE");
                    }
                    asked = now;
                }
            }
            (heard, pause) = &mut answers => {
                for answer in heard {
                    addresses.take(answer);
                }
                answers.set(look_up(&found, pause));
            }
            changed = inputs.registration.changed() => if changed.is_err() { return },
            () = rails.closed() => return,
        }
    }
}

/// What root found, and the names that are addresses already.
fn known(config: &Config, found: &Found) -> impl Iterator<Item = GuardRail> {
    let written = names(config, found).into_iter().filter_map(|(name, rail)| {
        let ip: IpAddr = name.host().parse().ok()?;
        Some(rail(SocketAddr::new(ip, name.port())))
    });
    found.rails.clone().into_iter().chain(written)
}

fn names(config: &Config, found: &Found) -> Vec<Name> {
    let control: (HostPort, fn(SocketAddr) -> GuardRail) =
        (config.control.address.clone(), GuardRail::ControlPlane);
    let spire = found.spire_server.clone();
    let spire = spire.map(|server| {
        (
            server,
            GuardRail::SpireServer as fn(SocketAddr) -> GuardRail,
        )
    });
    [Some(control), spire].into_iter().flatten().collect()
}

fn publish(rails: &watch::Sender<BTreeSet<GuardRail>>, next: BTreeSet<GuardRail>) {
    rails.send_if_modified(|held| {
        for rail in next.difference(held) {
            info!("never redirected from now on: {rail}");
        }
        for rail in held.difference(&next) {
            info!("no longer left alone: {rail}");
        }
        let changed = *held != next;
        *held = next;
        changed
    });
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn root_is_asked_until_it_looks_and_what_it_found_holds() {
        let dir = tempfile::tempdir().unwrap();
        let (answers, asked) = (dir.path().join("answers"), dir.path().join("look-again"));
        let config = serde_json::json!({
            "WorkloadGroup": { "Name": "a", "Namespace": "b" },
            "Control": { "Address": "192.0.2.1:8081", "ServerId": "controller.example" },
            "Identity": { "SpireSocketAddress": dir.path().join("api.sock") },
        });
        let config = Arc::new(Config::parse(&config.to_string()).unwrap());
        let server = GuardRail::SpireServer("192.0.2.2:8081".parse().unwrap());
        let mut found = Found::left(&answers);
        found.rails.insert(server.clone());
        found.leave(&answers).unwrap();

        // Something new to find, which nobody looks at.
        let api = config.identity.spire_socket.clone();
        let _agent = std::os::unix::net::UnixListener::bind(&api).unwrap();
        let (_session, registration) = watch::channel(registration::State {
            phase: registration::Phase::WaitingForIdentity,
            confirmed: None,
            peer: None,
        });
        let (rails, held) = watch::channel(BTreeSet::new());
        let inputs = Inputs {
            config,
            answers: answers.clone(),
            run_dir: dir.path().to_owned(),
            registration,
        };
        tokio::spawn(supervise(inputs, rails));
        for time in ["first", "second", "third"] {
            sleep(ASK_AGAIN + 2 * TICK).await;
            std::fs::remove_file(&asked).expect(time);
        }
        std::fs::write(answers.join("guard-rails.json"), "{").unwrap();
        sleep(3 * TICK).await;
        assert!(held.borrow().contains(&server), "{held:?}");
        found.rails.remove(&server);
        found.leave(&answers).unwrap();
        sleep(3 * TICK).await;
        assert!(!held.borrow().contains(&server), "{held:?}");
    }
}
