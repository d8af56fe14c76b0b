//! A host beside this one, for inbound connections: what this host sends to itself takes another way through the kernel
//! than what comes from outside.
//!
//! It is a network namespace of no name, joined to ours by a pair of virtual links. Nothing but our sockets keeps it, so the
//! kernel takes it and both links away when this process ends, however it ends.

use std::net::IpAddr;

use linkerd_harness_core::redirect::Family;
use nix::sched::{CloneFlags, unshare};
use socket2::Socket;

use super::dial;
use super::ip::Ip;
use super::network::Network;

/// What the names of our links begin with.
pub(super) const LINK: &str = "proof-";

/// The neighbour. Its links go when it is dropped.
#[derive(Debug)]
pub(super) struct Neighbour {
    ip: Ip,
    /// Our end of the pair.
    link: String,
    v4: Result<Side, String>,
    v6: Result<Side, String>,
}

/// What the neighbour has of one family.
#[derive(Debug)]
pub(super) struct Side {
    /// Our address on the link.
    pub(super) ours: IpAddr,
    /// The neighbour's.
    pub(super) theirs: IpAddr,
    /// A fresh socket of the neighbour's.
    pub(super) socket: Socket,
}

// === impl Neighbour ===

impl Neighbour {
    /// Makes it, with addresses that are `usable`. This thread is in the network namespace that it is to be beside.
    ///
    /// # Errors
    /// In words: no right to make one, no virtual links in this kernel, no `ip`.
    pub(super) fn new(
        families: &[Family],
        usable: impl Fn(IpAddr) -> bool,
    ) -> Result<Self, String> {
        let ip = Ip::find()?;
        let network = |family| {
            if families.contains(&family) {
                Network::free(&ip, family, &usable)
            } else {
                Err(format!("{family} is not redirected"))
            }
        };
        let networks = [network(Family::V4), network(Family::V6)];
        let link = format!("{LINK}{:08x}", rand::random::<u32>());
        let beside = nix::unistd::gettid();
        let far = {
            let (ip, networks) = (ip.clone(), networks.clone());
            let pair = format!(
                "link set lo up\nlink add eth0 type veth peer name {link} netns {beside}\n"
            );
            std::thread::spawn(move || make_far(&ip, &pair, networks))
        };
        let [far_v4, far_v6] = far
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        // From here on there is a link, which goes on every way out.
        let mut neighbour = Self {
            ip,
            link,
            v4: Err(String::new()),
            v6: Err(String::new()),
        };
        neighbour
            .ip
            .batch(&format!("link set {} up\n", neighbour.link))?;
        let [v4, v6] = networks;
        neighbour.v4 = neighbour.near(v4, far_v4);
        neighbour.v6 = neighbour.near(v6, far_v6);
        Ok(neighbour)
    }

    pub(super) fn side(&self, family: Family) -> Result<&Side, &str> {
        let side = match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        };
        side.as_ref().map_err(String::as_str)
    }

    /// The work on our side.
    fn near(
        &self,
        network: Result<Network, String>,
        far: Result<Socket, String>,
    ) -> Result<Side, String> {
        let (network, socket) = (network?, far?);
        let Network {
            ours,
            theirs,
            prefix,
        } = network;
        let nodad = nodad(ours);
        self.ip.batch(&format!(
            "addr add {ours}/{prefix} dev {}{nodad}\n",
            self.link
        ))?;
        Ok(Side {
            ours,
            theirs,
            socket,
        })
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        // At once, and not when the last closed connection is forgotten. What fails here the kernel does later.
        drop(self.ip.batch(&format!("link del {}\n", self.link)));
    }
}

/// The work on the neighbour's side, on a thread that goes there. Without a socket nothing stays of it.
fn make_far(
    ip: &Ip,
    pair: &str,
    networks: [Result<Network, String>; 2],
) -> Result<[Result<Socket, String>; 2], String> {
    unshare(CloneFlags::CLONE_NEWNET)
        .map_err(|errno| format!("cannot make a network namespace: {}", errno.desc()))?;
    ip.batch(pair)
        .map_err(|error| format!("cannot make a pair of virtual links: {error}"))?;
    Ok(networks.map(|network| {
        let Network { ours, theirs, prefix } = network?;
        let nodad = nodad(theirs);
        ip.batch(&format!(
            "addr add {theirs}/{prefix} dev eth0{nodad}\nlink set eth0 up\nroute add default via {ours} dev eth0\n"
        ))?;
        dial::socket(theirs).map_err(|error| error.to_string())
    }))
}

/// Duplicate address detection takes seconds, and nobody else is on this link.
fn nodad(address: IpAddr) -> &'static str {
    if address.is_ipv6() { " nodad" } else { "" }
}
