//! The decisions of linkerd-proxy-harness as pure functions: no I/O, no clock, no async runtime.
//!
//! The crates around it are thin shells: they read what is needed, ask here what to do, and do it.

pub mod assignment;
pub mod config;
pub mod health;
pub mod host;
pub mod labels;
pub mod names;
pub mod probe;
pub mod proxy_env;
pub mod redirect;
pub mod status;
pub mod truth;
