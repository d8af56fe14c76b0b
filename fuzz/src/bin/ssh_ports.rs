//! Target `ssh_ports`.
#![cfg_attr(fuzzing, no_main)]

fuzz::program!("ssh_ports");
