//! The registration protocol, as generated from `proto/registration.proto`, and what the replicas of the controller ask
//! each other, from `proto/peer.proto`.
//!
//! Who the caller is comes from the transport (its SPIFFE ID), never from a message.

/// Messages, client and server of `meshexpansion.registration.v1`.
#[expect(clippy::large_enum_variant, reason = "generated code")]
pub mod v1 {
    tonic::include_proto!("meshexpansion.registration.v1");
}

/// Messages, client and server of `meshexpansion.peer.v1`.
pub mod peer {
    tonic::include_proto!("meshexpansion.peer.v1");
}

/// Capability of a harness that keeps its stream open on [`v1::Pending`] instead of being refused.
pub const CAPABILITY_PENDING: &str = "pending";

/// Capability of a harness that runs [`v1::TcpSocket`] probes.
pub const CAPABILITY_PROBE_TCP: &str = "probe-tcp";
/// Capability of a harness that runs [`v1::Grpc`] probes.
pub const CAPABILITY_PROBE_GRPC: &str = "probe-grpc";
/// Capability of a harness that knows [`v1::Exec`] probes; whether its host allows them is another matter, and told as
/// health.
pub const CAPABILITY_PROBE_EXEC: &str = "probe-exec";
