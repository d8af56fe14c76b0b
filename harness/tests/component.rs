//! Components of the daemon against fakes of what they talk to: a SPIRE agent, a controller.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    unreachable_pub,
    reason = "test support"
)]

mod component {
    mod identity;
    mod registration;
}
mod support {
    pub mod controller;
    pub mod pki;
    pub mod workload_api;
}
