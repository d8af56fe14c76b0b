//! Who takes the rules back when nobody confirms them: a process of its own, so that neither the end of the command nor
//! the terminal's hang-up nor the end of the session keeps it from its work.

mod start;

use std::fmt;
use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::error::Error;
use super::owner;
use super::pending::{self, Id, Standing, Word};
use super::place;
use crate::backoff::Backoff;
use crate::redirection::cleanup;

pub(super) use start::start;

/// How often it looks whether it was confirmed.
const LOOK: Duration = Duration::from_millis(100);

/// Between attempts to take the rules back.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// How a hold ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The rules stay.
    Settled,
    /// The daemon has started meanwhile, and the rules are its own.
    LeftToDaemon,
    /// Nothing is redirected any more.
    TakenBack,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Settled => "confirmed: the rules stay",
            Self::LeftToDaemon => "the daemon runs: the rules are its own",
            Self::TakenBack => "not confirmed in time: everything was taken back",
        })
    }
}

/// The keeper's whole life. It never gives up: as long as the rules cannot be removed, it tries again.
pub async fn take_back_unless_confirmed(
    id: &Id,
    after: Duration,
    run_dir: &Path,
) -> Result<Outcome, Error> {
    // Fails where we lead a session already, as under systemd.
    if let Err(error) = nix::unistd::setsid() {
        tracing::debug!(%error, "no session of its own");
    }
    let holds = &place::of(run_dir);
    pending::say(holds, Word::Watched, id)?;
    // The time counts from when the rules are there: whoever brings them in has the turn until then, or until he died.
    drop(owner::hold_as_command(run_dir).await);
    let deadline = Instant::now() + after;
    while Instant::now() < deadline && !pending::is_settled(holds, id) {
        sleep_until(deadline.min(Instant::now() + LOOK)).await;
    }
    let outcome = take_back(id, run_dir).await;
    match outcome {
        Outcome::Settled => {}
        Outcome::LeftToDaemon => pending::end(holds, Standing::LeftToDaemon(id.clone()))?,
        Outcome::TakenBack => pending::end(holds, Standing::TakenBack(id.clone()))?,
    }
    if let Err(error) = pending::forget(holds, id) {
        tracing::warn!(%error, "files of a confirmation are left behind");
    }
    Ok(outcome)
}

async fn take_back(id: &Id, run_dir: &Path) -> Outcome {
    let mut backoff = Backoff::new(RETRY.0, RETRY.1, 10);
    loop {
        // Without its turn it goes on all the same: to be let back in is worth more than good manners.
        let turn = owner::hold_as_command(run_dir).await;
        if pending::is_settled(&place::of(run_dir), id) {
            return Outcome::Settled;
        }
        // The lock alone is not believed: the rules would stay, and nobody could get in to remove them.
        if owner::daemon_is_there(run_dir) {
            return Outcome::LeftToDaemon;
        }
        match cleanup(run_dir).await {
            Ok(_) => return Outcome::TakenBack,
            Err(error) => tracing::warn!(%error, "the rules cannot be taken back yet"),
        }
        drop(turn);
        sleep(backoff.next_wait()).await;
    }
}
