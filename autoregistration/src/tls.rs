//! Mutual TLS for the three listeners: one certificate with both control-plane identities, TLS 1.3 only, no ALPN (a
//! Linkerd proxy offers none), clients verified against the trust anchors of the mesh.
//!
//! [`files`] reads, checks and follows the files and is the only writer; [`acceptor`] does the handshakes.

pub mod acceptor;
pub mod files;

mod handshakes;
mod material;
mod peer;
mod validity;

pub(crate) use material::certificates_only;
pub use material::{Error, Material};
pub use peer::Peer;
pub use validity::Validity;
