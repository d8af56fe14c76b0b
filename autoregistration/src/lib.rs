//! Registers VMs in a Linkerd mesh. Standalone, it is a small Linkerd control plane in one process.

pub mod mesh;
pub mod view;
