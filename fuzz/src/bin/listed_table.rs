//! Target `listed_table`.
#![cfg_attr(fuzzing, no_main)]

fuzz::program!("listed_table");
