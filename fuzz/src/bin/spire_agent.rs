//! Target `spire_agent`.
#![cfg_attr(fuzzing, no_main)]

fuzz::program!("spire_agent");
