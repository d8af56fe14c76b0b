//! What people and scripts see of `harnessctl`: exit code, stdout and stderr of each behaviour.

mod get_config;
mod redirect;
mod set_config;
mod status;
mod support;
mod usage;
mod wait;
