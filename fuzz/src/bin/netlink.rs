//! Target `netlink`.
#![cfg_attr(fuzzing, no_main)]

fuzz::program!("netlink");
