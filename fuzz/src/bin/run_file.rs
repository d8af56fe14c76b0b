//! Target `run_file`.
#![cfg_attr(fuzzing, no_main)]

fuzz::program!("run_file");
