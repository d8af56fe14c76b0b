//! The binary from outside: what it refuses, what it says, and two of them carrying traffic for one another.
//!
//! Needs root, `ip`, `nft` and `setpriv`: the traffic tests make network namespaces of their own.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "test support")]

mod control_plane;
mod host;
mod messages;
mod network;
mod pki;
mod poll;
mod proxy;
mod shutdown;
mod sidecar;
mod start;
mod traffic;
mod trap;
mod workload_api;
