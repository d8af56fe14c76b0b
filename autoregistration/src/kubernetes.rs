//! The cluster as a store: `ExternalGroup`s come from its API server, `ExternalWorkload`s are kept there.

mod calls;
pub mod drained;
pub mod events;
pub mod groups;
mod known;
pub mod leader;
pub mod metrics;
pub mod peers;
pub mod queue;
pub mod scope;
pub mod status;
pub mod step;
pub mod store;
pub mod workload;
pub mod workloads;
pub mod writer;

pub use known::{Key, Refused};
