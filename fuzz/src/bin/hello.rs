//! Target `hello`.
#![cfg_attr(fuzzing, no_main)]

fuzz::program!("hello");
