//! Kernel modules for the rules. The daemon may not load them, and its sandbox hides them.

use linkerd_harness_core::redirect::backend::Backend;
use tracing::debug;

use super::exec;

const IPTABLES: [&str; 6] = [
    "nf_nat",
    "xt_REDIRECT",
    "xt_owner",
    "xt_multiport",
    "xt_comment",
    "xt_addrtype",
];
const NFT: [&str; 3] = ["nf_tables", "nft_compat", "nft_chain_nat"];
const NFTABLES: [&str; 6] = [
    "nf_tables",
    "nft_chain_nat",
    "nft_redir",
    "nft_fib_inet",
    "nft_counter",
    "nft_ct",
];
/// Never on a host whose rules go to nft: to load it is what makes a host one with legacy tables.
const LEGACY: [&str; 1] = ["iptable_nat"];
const LEGACY_V6: [&str; 1] = ["ip6table_nat"];

/// Loads what the backend needs, as far as possible. What is built into the kernel needs no loading and cannot be told
/// apart from what is missing, so a failure says nothing; a kernel that lacks something refuses the rules, with a hint.
pub(super) async fn load(backend: Backend, ipv6: bool) {
    let Some(modprobe) = exec::find("modprobe") else {
        debug!("no modprobe, no modules loaded");
        return;
    };
    let lists: &[&[&str]] = match (backend, ipv6) {
        (Backend::Nft, _) => &[&IPTABLES, &NFT],
        (Backend::Legacy, false) => &[&IPTABLES, &LEGACY],
        (Backend::Legacy, true) => &[&IPTABLES, &LEGACY, &LEGACY_V6],
        (Backend::Nftables, _) => &[&NFTABLES],
    };
    for module in lists.concat() {
        if let Err(error) = exec::run(&modprobe, &["-q", module], "").await {
            debug!(%error, "module not loaded");
        }
    }
}
