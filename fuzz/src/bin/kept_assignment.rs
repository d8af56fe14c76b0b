//! Target `kept_assignment`.
#![cfg_attr(fuzzing, no_main)]

fuzz::program!("kept_assignment");
