//! Target `svid`.
#![cfg_attr(fuzzing, no_main)]

fuzz::program!("svid");
