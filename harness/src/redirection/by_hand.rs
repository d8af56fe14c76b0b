//! Redirection without the daemon: for images, boot scripts, tests, and the first contact of a careful operator.
//!
//! While the daemon runs it owns the rules, and every command here refuses. What [`apply`] brings in, [`remove`] takes
//! out, also by itself unless somebody [confirms](confirm()).

mod daemon;
mod error;
mod keeper;
mod owner;
mod pending;
mod place;
mod privilege;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use linkerd_harness_core::config::Config;
use linkerd_harness_core::redirect::backend::Choice;
use linkerd_harness_core::redirect::{Family, GuardRail, Plan, ProxyPorts, State};
use tokio::time::sleep;

use self::pending::Standing;
use super::Host;
use super::proc_net::{self, SocketState};
use super::{Firewall, Removed, cleanup, prepare, rails};
use crate::{interception, paths};

pub use error::Error;
pub use keeper::{Outcome, take_back_unless_confirmed};
pub use owner::{DaemonLock, hold_as_daemon};
pub use pending::{Id, InvalidId};

/// For connections that are open to send something, by which connection tracking gets to know them before anything is
/// redirected; see [`Host::prepare_connections`]. One that is silent for longer meets the proxy in its middle.
const ACQUAINTANCE: Duration = Duration::from_secs(2);

/// What [`apply`] did.
#[derive(Debug)]
pub struct Applied {
    /// Where the rules are.
    pub choice: Choice,
    /// What they are made from.
    pub plan: Plan,
    /// What waits to be confirmed, if that was asked for.
    pub hold: Option<Id>,
    /// What an operator should know, a line each.
    pub remarks: Vec<String>,
}

/// Does what the configuration says, in one transaction a family, with the guard rails of this host. On an error the rules
/// are as they were before.
///
/// With `confirm`, they are taken back after so long unless [`confirm()`] is called: to nothing redirected, whatever was
/// there before. A hold that waits already is called off, for this one takes its place.
pub async fn apply(
    config: &Config,
    confirm: Option<Duration>,
    run_dir: &Path,
) -> Result<Applied, Error> {
    refuse(run_dir)?;
    let uid = paths::proxy_user(config.proxy.user_id)?;
    // Before anything is written, so that a host that cannot be used stays as it is.
    let (firewall, choice) = Host::open(config.redirect.mode, run_dir).await?;
    firewall.serves(&interception::plan(config, uid, &BTreeSet::new()))?;
    let _alone = owner::hold_as_command(run_dir).await?;
    let mut remarks = Vec::new();
    if privilege::is_root() {
        let found = prepare::find_out(
            &config.redirect,
            &config.identity.spire_socket,
            run_dir,
            paths::proxy_group(),
        )
        .await;
        remarks.extend(found.problems);
    }
    remarks.extend(choice.warning.map(|warning| warning.to_string()));
    let rails = rails::now(config, &paths::roots(run_dir)).await;
    if !rails
        .iter()
        .any(|rail| matches!(rail, GuardRail::ControlPlane(_)))
    {
        remarks.push(format!(
            "`{}` (Control.Address) is not exempt, for it has no address now",
            config.control.address
        ));
    }
    let plan = interception::plan(config, uid, &rails);
    let holds = &place::of(run_dir);
    let before = pending::current(holds);
    let hold = match confirm {
        Some(after) => {
            let id = pending::begin(holds)?;
            match keeper::start(&id, after, run_dir).await {
                Ok(said) => remarks.extend(said),
                Err(error) => {
                    pending::undo(holds, &id, before.as_ref())?;
                    return Err(error);
                }
            }
            Some(id)
        }
        None => None,
    };
    if let Err(error) = bring_in(&firewall, &plan, run_dir).await {
        if let Some(id) = &hold {
            pending::undo(holds, id, before.as_ref())?;
        }
        return Err(error);
    }
    if let Some(before) = &before {
        pending::settle(holds, before)?;
    }
    remarks.extend(nobody_listens(&ProxyPorts::of(config), plan.families()));
    Ok(Applied {
        choice,
        plan,
        hold,
        remarks,
    })
}

async fn bring_in(firewall: &Host, plan: &Plan, run_dir: &Path) -> Result<(), Error> {
    if firewall.look(plan).await?.state != State::Absent {
        return Ok(firewall.apply(plan).await?);
    }
    let first = async {
        firewall.prepare_connections(plan).await?;
        sleep(ACQUAINTANCE).await;
        firewall.apply(plan).await
    };
    if let Err(error) = first.await {
        cleanup(run_dir).await?;
        return Err(error.into());
    }
    Ok(())
}

/// Takes every rule of ours off the host, and says where there were any. Whoever waits to do the same is called off.
pub async fn remove(run_dir: &Path) -> Result<Vec<Removed>, Error> {
    refuse(run_dir)?;
    let _alone = owner::hold_as_command(run_dir).await?;
    let removed = cleanup(run_dir).await?;
    call_off(run_dir)?;
    Ok(removed)
}

/// Keeps the rules that would be taken back.
pub fn confirm(run_dir: &Path) -> Result<(), Error> {
    let holds = &place::of(run_dir);
    match pending::standing(holds) {
        Some(Standing::Waits(id)) => pending::settle(holds, &id),
        Some(Standing::TakenBack(_)) => Err(Error::TooLate),
        Some(Standing::LeftToDaemon(_)) | None => Err(Error::NothingPending),
    }
}

/// Before the daemon starts: from then on the rules are its own, and nobody is to take them back.
pub fn call_off(run_dir: &Path) -> Result<(), Error> {
    let holds = &place::of(run_dir);
    pending::current(holds).map_or(Ok(()), |id| pending::settle(holds, &id))
}

/// What became of a hold: `None` while it waits.
pub fn outcome(id: &Id, run_dir: &Path) -> Option<Outcome> {
    let holds = &place::of(run_dir);
    match pending::standing(holds) {
        Some(Standing::Waits(waits)) if waits == *id && !pending::is_settled(holds, id) => None,
        Some(Standing::TakenBack(gone)) if gone == *id => Some(Outcome::TakenBack),
        Some(Standing::LeftToDaemon(left)) if left == *id => Some(Outcome::LeftToDaemon),
        // Who would have taken them back leaves nothing of one that was settled.
        _ => Some(Outcome::Settled),
    }
}

fn refuse(run_dir: &Path) -> Result<(), Error> {
    if owner::daemon_runs(run_dir)? {
        return Err(Error::DaemonRuns);
    }
    if !privilege::suffices() {
        return Err(Error::Privilege);
    }
    Ok(())
}

fn nobody_listens(ports: &ProxyPorts, families: &[Family]) -> Vec<String> {
    let sockets = proc_net::sockets().unwrap_or_default();
    let listens = |port: u16| {
        let mut sockets = sockets.iter();
        sockets.any(|socket| socket.state == SocketState::Listening && socket.local.port() == port)
    };
    let mut wanted = vec![("inbound", ports.inbound), ("outbound", ports.outbound)];
    if families.contains(&Family::V6) && ports.outbound_v6 != ports.outbound {
        wanted.push(("outbound IPv6", ports.outbound_v6));
    }
    let silent = wanted.into_iter().filter(|(_, port)| !listens(*port));
    silent
        .map(|(what, port)| {
            format!("nothing listens on port {port}: new {what} connections are refused until the proxy does")
        })
        .collect()
}
