//! Registers VMs in a Linkerd mesh. Standalone, it is a small Linkerd control plane in one process.
//!
//! ```text
//! manifests (watch) ──┐
//!                     ├──▶ registry ──▶ view (watch) ──▶ mesh: Linkerd's destination and policy APIs
//! registration (gRPC)─┘        └──────▶ objects (watch) ──▶ admin
//! tls files (watch) ──▶ acceptors of registration and mesh
//! ```

pub mod admin;
pub mod args;
pub mod breaker;
pub mod audit;
pub mod cluster_ip;
pub mod crd;
pub mod identity;
pub mod kubernetes;
pub mod linkerd;
pub mod logging;
pub mod manifests;
pub mod mesh;
pub mod metrics;
pub mod peer;
mod patience;
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
