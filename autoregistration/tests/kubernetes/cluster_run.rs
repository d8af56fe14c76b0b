//! Whole replicas of the program on a real API server, and VMs that are as simple as the protocol lets them be.
//!
//! Behind the pod's proxy a client is who the header `l5d-client-id` says. A connection from loopback counts as the
//! proxy's, so the VMs of these tests need no certificates.

mod access;
mod addresses;
mod admin;
mod away;
mod balance;
mod calls;
mod controllers;
mod cut;
mod definitions;
mod edits;
mod fleet;
mod group;
mod hands;
mod hostile;
mod image;
mod line;
mod linkerd;
mod lost;
mod masses;
mod mesh;
mod moves;
mod registration;
mod replica;
mod restarts;
mod rights;
mod rollout;
mod seen;
mod settings;
mod slices;
mod stream;
mod takeover;
mod unreadable;
mod vm;

use controllers::Linkerd;
use mesh::Mesh;
use replica::Replica;
use stream::Stream;
use vm::{Session, Vm};
