//! Target `proxy_log`.
#![cfg_attr(fuzzing, no_main)]

fuzz::program!("proxy_log");
