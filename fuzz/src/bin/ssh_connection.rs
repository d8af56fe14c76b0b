//! Target `ssh_connection`.
#![cfg_attr(fuzzing, no_main)]

fuzz::program!("ssh_connection");
