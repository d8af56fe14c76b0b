//! What redirection costs: to apply it, to put it right, and for each new connection. Ratios of things that are measured in turns in one run,
//! so that a slow machine shows the same; nothing is asserted. Run by `make bench`, as root, in namespaces of its own.
#![expect(clippy::unwrap_used, reason = "a failure ends the benchmark")]
#![expect(clippy::print_stdout, reason = "prints what it measures")]

#[path = "../tests/support/netns.rs"]
mod netns;
#[path = "../tests/support/owner.rs"]
#[expect(dead_code, reason = "the tests need more of it")]
mod owner;
#[path = "../tests/support/plans.rs"]
mod plans;

#[path = "redirection/apply.rs"]
mod apply;
#[path = "redirection/connect.rs"]
mod connect;
#[path = "redirection/drift.rs"]
mod drift;
#[path = "redirection/sizes.rs"]
mod sizes;
#[path = "redirection/spread.rs"]
mod spread;

use linkerd_harness_core::config::Mode;

fn main() {
    for (name, mode) in [
        ("nft", Mode::Nft),
        ("legacy", Mode::Legacy),
        ("nftables", Mode::Nftables),
    ] {
        println!("redirection, IPTablesMode {name}: median (smallest to largest)");
        apply::measure(name, mode);
        drift::measure(mode);
        connect::measure(mode);
    }
}
