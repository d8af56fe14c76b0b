//! The lab: hosts, VMs, SPIRE and a control plane on one Linux machine, for `make demo` and for tests.
//!
//! [`lab::Lab`] is the whole of it; [`walkthrough`] is what a person does there.

pub mod apiserver;
pub mod capture;
pub mod cgroup;
pub mod cluster;
pub mod control;
pub mod controllers;
pub mod demo;
pub mod dns;
pub mod docker;
pub mod exec;
pub mod go;
pub mod host;
pub mod lab;
pub mod measure;
pub mod net;
pub mod pki;
pub mod place;
pub mod poll;
pub mod products;
pub mod rootfs;
pub mod rules;
pub mod run;
pub mod screen;
pub mod seen;
pub mod spire;
pub mod ssh;
pub mod story;
pub mod vm;
pub mod walkthrough;
pub mod wire;
