//! Registers VMs in a Linkerd mesh. In a cluster ([`cluster`]) it keeps `ExternalWorkload`s for Linkerd's controllers; without
//! one ([`standalone`]) it is a small Linkerd control plane in one process. Both are the same registry between two ends:
//!
//! ```text
//! groups (watch) ──────┐             ┌──▶ store: wishes out, news in (an API server, or memory)
//! settings (watch) ────┼─▶ registry ─┤
//! registration (gRPC) ─┘             └──▶ standalone, view (watch) ──▶ mesh: Linkerd's destination and policy APIs
//! ```

pub mod admin;
pub mod args;
pub mod audit;
pub mod balance;
pub mod breaker;
pub mod cluster;
pub mod cluster_ip;
pub mod connection;
pub mod crd;
pub mod identity;
pub mod kubernetes;
pub mod linkerd;
pub mod logging;
pub mod manifests;
pub mod mesh;
pub mod metrics;
mod patience;
pub mod peer;
pub mod process;
pub mod refusal;
pub mod registration;
pub mod registry;
pub mod report;
pub mod settled;
pub mod shutdown;
pub mod sidecar;
pub mod standalone;
pub mod store;
pub mod tls;
pub mod view;
