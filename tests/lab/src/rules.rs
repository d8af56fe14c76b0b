//! The firewall of a host as bytes: to tell whether it was left as it was found, and whether ours is whole.

use anyhow::{Result, ensure};

use crate::exec;
use crate::host::Host;

/// How both backends show their rules.
const SAVES: [&str; 4] = [
    "iptables-nft-save",
    "ip6tables-nft-save",
    "iptables-legacy-save",
    "ip6tables-legacy-save",
];

/// Our own table of nftables, as `sed` finds it.
const OUR_TABLE: &str = "/^table inet linkerd_proxy_harness {/,/^}/";

/// Table `nat` as `save` shows it; not by its `-t nat`, with which iptables-legacy would make the table.
fn nat(save: &str) -> String {
    format!("{save} 2>/dev/null | sed -n '/^\\*nat/,/^COMMIT/p'")
}

/// Every rule, chain and table of the host but those in our own table of nftables, without what changes by itself:
/// counters, handles, and the comments with the time.
pub fn of(host: &dyn Host) -> Result<String> {
    let mut commands: Vec<String> = SAVES
        .iter()
        .map(|save| {
            format!("echo '== {save}'; {save} 2>/dev/null | sed '/^#/d; s/\\[[0-9]*:[0-9]*\\]//'")
        })
        .collect();
    commands.push(format!(
        "echo '== nft'; nft --stateless list ruleset 2>/dev/null | sed '/^#/d; {OUR_TABLE}d'"
    ));
    host.get(&commands.join("; "))
}

/// The rules of ours, in the order in which they stand in their chains. Empty when there are none.
pub fn ours(host: &dyn Host) -> Result<String> {
    let mut commands: Vec<String> = SAVES
        .iter()
        .map(|save| format!("{} | sed -n '/proxy-init/s/^/{save}: /p'", nat(save)))
        .collect();
    commands.push(format!(
        "nft --stateless list ruleset 2>/dev/null | sed -n '{OUR_TABLE}s/^/nft: /p'"
    ));
    host.get(&commands.join("; "))
}

/// Fails unless our jumps come first in the chains of `nat` that they are in, of either family and backend.
pub fn ours_come_first(host: &dyn Host) -> Result<()> {
    for save in SAVES {
        let rules = host.get(&nat(save))?;
        for (chain, jump) in [
            ("-A PREROUTING ", "PROXY_INIT_REDIRECT"),
            ("-A OUTPUT ", "PROXY_INIT_OUTPUT"),
        ] {
            let in_chain: Vec<&str> = rules
                .lines()
                .filter(|line| line.starts_with(chain))
                .collect();
            let ours = in_chain.iter().position(|line| line.contains(jump));
            ensure!(
                ours.is_none_or(|at| at == 0),
                "another rule comes first:\n{}",
                exec::indented(&in_chain.join("\n"))
            );
        }
    }
    Ok(())
}

/// Fails with what differs when they do.
pub fn same(before: &str, after: &str) -> Result<()> {
    let only = |one: &str, other: &str| {
        let lines = one
            .lines()
            .filter(|line| !other.lines().any(|same| same == *line));
        exec::indented(&lines.collect::<Vec<_>>().join("\n"))
    };
    ensure!(
        before == after,
        "the rules were\n{before}\nand are\n{after}\nonly before:\n{}\nonly after:\n{}",
        only(before, after),
        only(after, before)
    );
    Ok(())
}
