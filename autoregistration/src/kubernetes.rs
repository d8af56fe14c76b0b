//! The cluster as a store: `ExternalGroup`s come from its API server.

pub mod events;
pub mod groups;
mod known;
pub mod leader;
pub mod peers;

pub use known::{Key, Refused};
