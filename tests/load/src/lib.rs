//! Simulated harnesses by the thousand: each says `Hello` as a machine of its own and does what the protocol asks of it,
//! and nothing else of a VM is there.
//!
//! They reach `autoregistration` as if the pod's Linkerd proxy had let them in: HTTP/2 in clear, a connection for each
//! identity, which the header `l5d-client-id` names, and the streams of all its VMs on it.
//!
//! ```text
//! Fleet ── orders ──▶ Vm (a task each) ──▶ Way (a connection for each identity) ──▶ autoregistration
//!   ▲                  │
//!   └───── Seen ◀──────┘
//! ```

pub mod fleet;
pub mod latency;
pub mod seen;
mod vm;
mod way;

pub use fleet::{Fleet, Plan};
pub use seen::{Counts, Seen};
