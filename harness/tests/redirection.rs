//! Redirection against the real kernel, with both backends, in network namespaces. Needs root, and fails without.
#![expect(clippy::unwrap_used, reason = "test support")]

#[path = "support/netns.rs"]
mod netns;
#[path = "support/owner.rs"]
mod owner;
#[path = "support/plans.rs"]
mod plans;

#[path = "redirection/backends.rs"]
mod backends;
#[path = "redirection/bad_hosts.rs"]
mod bad_hosts;
#[path = "redirection/by_hand.rs"]
mod by_hand;
#[path = "redirection/choice.rs"]
mod choice;
#[path = "redirection/dialect.rs"]
mod dialect;
#[path = "redirection/drift.rs"]
mod drift;
#[path = "redirection/foreign.rs"]
mod foreign;
#[path = "redirection/keys.rs"]
mod keys;
#[path = "redirection/load.rs"]
mod load;
#[path = "redirection/privileges.rs"]
mod privileges;
#[path = "redirection/program.rs"]
mod program;
#[path = "redirection/proof.rs"]
mod proof;
#[path = "redirection/prove_command.rs"]
mod prove_command;
#[path = "redirection/setup.rs"]
mod setup;
#[path = "redirection/traffic.rs"]
mod traffic;
#[path = "redirection/transitions.rs"]
mod transitions;
