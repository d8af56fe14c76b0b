//! The daemon of linkerd-proxy-harness.
//!
//! config -> identity -> registration -> proxy -> redirection -> health

pub mod proxy;
pub mod redirection;
pub mod report;
