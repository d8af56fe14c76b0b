//! What of this host's traffic goes through the proxy, and the text that makes it so.
//!
//! A [`Plan`] is made from the configuration, the proxy's ports, its uid and the [guard rails](GuardRail). It is rendered
//! to one `iptables-restore --noflush` transaction by [`iptables::apply`], compared with a live `iptables-save` by
//! [`State::of`], and taken back by [`iptables::withdrawal`] and [`iptables::removal`], which need no plan. [`nftables`] has
//! the same for a table of our own. Nothing here touches the host.

pub mod backend;
pub mod contest;
mod dump;
mod guard;
pub mod iptables;
mod look;
pub mod netlink;
pub mod nftables;
pub mod page;
mod plan;
mod ports;
pub mod proof;
mod purpose;
mod rule;
mod rules;
mod state;

pub use dump::{Matched, RuleCount, foreign_rules};
pub use guard::{GuardRail, SshdFound};
pub use look::{Live, Look};
pub use plan::{Plan, ProxyPorts};
pub use rule::{Chain, Family};
pub use state::{Drift, State};

/// The whole plan as this backend's own tool would list it. For people and for golden files.
pub fn show(plan: &Plan, backend: backend::Backend) -> String {
    match backend {
        backend::Backend::Nft | backend::Backend::Legacy => plan
            .families()
            .iter()
            .map(|family| format!("# {family}\n{}", iptables::show(plan, *family)))
            .collect::<Vec<_>>()
            .concat(),
        backend::Backend::Nftables => nftables::show(plan),
    }
}
