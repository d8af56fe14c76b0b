//! Target `assignment`.
#![cfg_attr(fuzzing, no_main)]

fuzz::program!("assignment");
