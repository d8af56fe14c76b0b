//! What only the cluster knows and a VM's proxy needs: Linkerd's own configuration, the trust anchors, and the
//! annotations of namespace and group, merged as Linkerd's injector merges them for pods.
//!
//! Decided here without I/O ([`Settings`]); followed by [`watch`], the only writer of what others see.

pub mod annotations;
pub mod settings;
pub mod values;
pub mod watch;

mod anchors;
mod environment;
mod golang;
mod known;
mod overrides;
mod ports;
mod proxy;

pub use settings::{Flags, Merged, Settings};
