//! What the replicas of this service ask each other. Nobody keeps a record of which replica has which VM; who needs to
//! know asks all others. Protocol: `api/proto/peer.proto`.
//!
//! In clear text: the pods' Linkerd proxies make it mutual TLS, and an `AuthorizationPolicy` lets in our own
//! `ServiceAccount` only. Without such a proxy, see [`server::Meshed`].

pub mod census;
pub mod client;
pub mod server;

pub use client::Peers;
pub use server::{Server, Sessions};

/// Bytes of a fingerprint that name it among others: enough that no two of a mesh are alike.
pub const PREFIX: usize = 16;
/// Sessions of one replica that its peers can be told of.
pub const MOST_SESSIONS: usize = 100_000;
/// Room for what else is in a message.
const ENVELOPE: usize = 4096;

/// What a replica is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It does not know yet which workloads there are.
    Starting,
    /// It takes VMs.
    Serving,
    /// It sends its VMs to others.
    Stopping,
}
