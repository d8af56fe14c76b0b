//! Whole replicas of the program on a real API server, and VMs that are as simple as the protocol lets them be.
//!
//! Behind the pod's proxy a client is who the header `l5d-client-id` says. A connection from loopback counts as the
//! proxy's, so the VMs of these tests need no certificates.

mod away;
mod controllers;
mod edits;
mod fleet;
mod hands;
mod linkerd;
mod lost;
mod mesh;
mod registration;
mod replica;
mod restarts;
mod rights;
mod stream;
mod takeover;
mod vm;

use controllers::Linkerd;
use mesh::Mesh;
use replica::Replica;
use stream::Stream;
use vm::{Session, Vm};
