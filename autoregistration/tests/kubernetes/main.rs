//! Against a real API server: the definitions of our kinds, and what is read and written there.

#![expect(
    clippy::unwrap_used,
    reason = "a test's helpers panic as the test would"
)]

mod chart;
mod cluster;
mod cluster_run;
mod columns;
mod events;
mod foreign;
mod groups;
mod leader;
mod linkerd;
mod load;
mod manifests;
mod nonsense;
mod replicas;
mod settings;
mod status;
mod store;
