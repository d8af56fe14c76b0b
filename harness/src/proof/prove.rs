//! Tries what a plan promises, as root.

use std::net::{IpAddr, SocketAddr};

use linkerd_harness_core::redirect::proof::{
    Direction, NOBODY, Outcome, Trial, Wish, trials, verdict,
};
use linkerd_harness_core::redirect::{Family, Plan};
use linkerd_harness_core::status::Shown;

use super::dial;
use super::neighbour::Neighbour;

/// Tries each direction and family of the plan, at the same time, in the network namespace of this thread. Takes some
/// seconds where nothing answers. Leaves nothing behind.
///
/// What cannot be tried is [`Outcome::Untried`], with the reason.
pub fn prove(plan: &Plan, wish: Wish) -> Vec<Shown> {
    let neighbour = Neighbour::new(plan.families(), |ip| plan.takes_from(ip));
    let neighbour = &neighbour;
    std::thread::scope(|scope| {
        let running: Vec<_> = trials(plan, wish)
            .into_iter()
            .map(|trial| {
                let (direction, family) = (trial.direction, trial.family);
                (
                    direction,
                    family,
                    scope.spawn(move || attempt(plan, &trial, neighbour)),
                )
            })
            .collect();
        running
            .into_iter()
            .map(|(direction, family, thread)| {
                let result = thread
                    .join()
                    .unwrap_or_else(|_| Err("the attempt broke off".to_owned()));
                let (outcome, message) = result.unwrap_or_else(|why| (Outcome::Untried, why));
                Shown {
                    direction,
                    family,
                    outcome,
                    message,
                }
            })
            .collect()
    })
}

type Verdict = Result<(Outcome, String), String>;

fn attempt(plan: &Plan, trial: &Trial, neighbour: &Result<Neighbour, String>) -> Verdict {
    let Some(port) = trial.port else {
        return Err("the configuration redirects no port that could show it".to_owned());
    };
    let side = match neighbour {
        Ok(neighbour) => neighbour.side(trial.family),
        Err(why) => Err(why.as_str()),
    };
    let seen = match trial.direction {
        Direction::Inbound => {
            let side = side?;
            // An address that peers know; on a host without one, that of the link.
            let to = known(trial.family).unwrap_or(side.ours);
            dial::dial(&side.socket, side.theirs, SocketAddr::new(to, port))
        }
        Direction::Outbound => {
            let beside = side
                .ok()
                .map(|side| side.theirs)
                .filter(|ip| plan.takes_out(*ip));
            let (from, to) =
                reachable(trial.to.iter().copied().chain(beside)).ok_or_else(|| no_way(trial))?;
            let socket = dial::socket(to).map_err(|error| error.to_string())?;
            dial::dial(&socket, from, SocketAddr::new(to, port))
        }
    };
    seen.map(|seen| verdict(trial, &seen))
        .map_err(|error| error.to_string())
}

/// The first address that is on the way to another host, with ours on that way.
fn reachable(to: impl Iterator<Item = IpAddr>) -> Option<(IpAddr, IpAddr)> {
    to.filter_map(|to| Some((dial::source_for(to).ok()?, to)))
        .find(|(from, to)| from != to && !from.is_loopback())
}

fn no_way(trial: &Trial) -> String {
    let family = trial.family;
    if trial.to.is_empty() {
        format!("the configuration redirects no outbound {family} address that could show it")
    } else {
        format!("this host has no {family} route")
    }
}

/// An address under which others know this host: the one that it shows to others, else any global one.
fn known(family: Family) -> Option<IpAddr> {
    let shown = NOBODY.into_iter().find_map(|to| {
        let same = matches!(
            (family, to),
            (Family::V4, IpAddr::V4(_)) | (Family::V6, IpAddr::V6(_))
        );
        same.then(|| dial::source_for(to).ok()).flatten()
    });
    shown
        .filter(|ip| !ip.is_loopback())
        .or_else(|| global(family))
}

fn global(family: Family) -> Option<IpAddr> {
    let addresses = nix::ifaddrs::getifaddrs().ok()?;
    addresses
        .filter(|found| !found.interface_name.starts_with(super::neighbour::LINK))
        .filter_map(|found| {
            let address = found.address?;
            let v4 = address.as_sockaddr_in().map(|v4| IpAddr::from(v4.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::from(v6.ip())))
        })
        .find(|ip| match (family, ip) {
            (Family::V4, IpAddr::V4(ip)) => !ip.is_loopback() && !ip.is_link_local(),
            (Family::V6, IpAddr::V6(ip)) => !ip.is_loopback() && !ip.is_unicast_link_local(),
            _ => false,
        })
}
