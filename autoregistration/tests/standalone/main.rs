//! The whole standalone control plane over real TLS on loopback: its files, its ports, its answers.
#![expect(clippy::unwrap_used, reason = "test support")]

mod admin;
mod edits;
mod hostile;
mod lab;
mod membership;
mod mesh;
mod pki;
mod process;
mod refusals;
mod rotation;
mod sidecar;
mod vm;
