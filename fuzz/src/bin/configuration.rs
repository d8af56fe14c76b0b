//! Target `configuration`.
#![cfg_attr(fuzzing, no_main)]

fuzz::program!("configuration");
