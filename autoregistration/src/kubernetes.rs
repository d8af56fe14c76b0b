//! The cluster as a store: `ExternalGroup`s come from its API server, `ExternalWorkload`s are kept there.

pub mod events;
pub mod groups;
mod known;
pub mod leader;
pub mod peers;
pub mod step;
pub mod workload;

pub use known::{Key, Refused};
