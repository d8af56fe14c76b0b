//! Components of the daemon against fakes of what they talk to: a SPIRE agent, a controller.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    unreachable_pub,
    reason = "test support"
)]

#[path = "support/controller.rs"]
mod controller;
#[path = "component/identity.rs"]
mod identity;
#[path = "support/pki.rs"]
mod pki;
#[path = "component/registration.rs"]
mod registration;
#[path = "support/workload_api.rs"]
mod workload_api;
