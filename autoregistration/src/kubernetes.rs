//! The cluster as a store: `ExternalGroup`s come from its API server, `ExternalWorkload`s are kept there.

pub mod events;
pub mod groups;
mod known;
pub mod leader;
pub mod peers;
mod calls;
pub mod drained;
pub mod metrics;
pub mod queue;
pub mod step;
pub mod store;
pub mod workload;
pub mod workloads;
pub mod writer;

pub use known::{Key, Refused};
