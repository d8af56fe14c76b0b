//! Target `saved_rules`.
#![cfg_attr(fuzzing, no_main)]

fuzz::program!("saved_rules");
