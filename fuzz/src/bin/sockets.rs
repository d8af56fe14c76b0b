//! Target `sockets`.
#![cfg_attr(fuzzing, no_main)]

fuzz::program!("sockets");
