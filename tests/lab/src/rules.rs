//! The firewall of a host as bytes, to tell whether it was left as it was found.

use anyhow::{Result, ensure};

use crate::host::Host;

/// Every rule of both backends, without what changes by itself: counters and the comments with the time.
pub fn of(host: &dyn Host) -> Result<String> {
    let each = [
        "iptables-save",
        "ip6tables-save",
        "iptables-legacy-save",
        "ip6tables-legacy-save",
    ];
    let commands: Vec<String> = each
        .iter()
        .map(|save| {
            format!("echo '== {save}'; {save} 2>/dev/null | sed '/^#/d; s/\\[[0-9]*:[0-9]*\\]//'")
        })
        .collect();
    host.get(&commands.join("; "))
}

/// Fails with both texts when they differ.
pub fn same(before: &str, after: &str) -> Result<()> {
    ensure!(
        before == after,
        "the rules were\n{before}\nand are\n{after}"
    );
    Ok(())
}
