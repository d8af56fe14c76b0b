//! Target `proxy_metrics`.
#![cfg_attr(fuzzing, no_main)]

fuzz::program!("proxy_metrics");
