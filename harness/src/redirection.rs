//! The rules on this host: the only part of the daemon that changes its packet filter.
//!
//! [`supervise`] owns them while the daemon runs. [`prepare()`] is what needs root before it starts, [`cleanup()`] what must
//! work after it died. What the rules are is decided in [`linkerd_harness_core::redirect`].

pub mod by_hand;
mod cleanup;
mod closed;
mod dialect;
mod error;
mod events;
pub(crate) mod exec;
mod found;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod heard;
mod host;
mod iptables;
mod legacy;
mod lock;
mod modules;
mod names;
mod nft;
mod nftables;
mod observe;
mod opening;
mod phase;
mod prepare;
pub(crate) mod proc_net;
mod processes;
pub mod rails;
pub(crate) mod run_file;
mod spire;
mod ssh_sessions;
mod sshd;
mod supervise;
mod tools;

use std::future::Future;

use linkerd_harness_core::redirect::{Look, Plan};

pub use cleanup::{CleanupErrors, Removed, cleanup};
pub use closed::{hold, keeps_rules};
pub use error::Error;
pub use events::listen;
pub use exec::CommandError;
pub use heard::Heard;
pub use host::Host;
pub use opening::open_patiently;
pub use phase::{Phase, Redirection, View, report};
pub use prepare::{Prepared, look, prepare};
pub use supervise::{Inputs, SWEEP, supervise};

/// One way to put a plan's rules on this host. Each method may be called at any time and again.
pub trait Firewall: Send + Sync {
    /// Makes the host match the plan: all of it, in one transaction a family, or, on an error, none of it.
    fn apply(&self, plan: &Plan) -> impl Future<Output = Result<(), Error>> + Send;

    /// Redirects nothing any more, whoever put rules of ours there. Connections that were redirected go on with the proxy,
    /// for what keeps them going stays until [`cleanup()`]. `false` when nothing was redirected, which is no error.
    fn withdraw(&self) -> impl Future<Output = Result<bool, Error>> + Send;

    /// Looks at the host, and compares it with the plan. Changes nothing.
    fn look(&self, plan: &Plan) -> impl Future<Output = Result<Look, Error>> + Send;
}
