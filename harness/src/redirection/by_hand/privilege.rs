//! Whether this process may change rules. Asked of the kernel first, since the tools' own words differ by version.

use nix::unistd::geteuid;

/// `CAP_NET_ADMIN` and `CAP_NET_RAW`, by their bits in `capabilities(7)`.
const NEEDED: u64 = 1 << 12 | 1 << 13;

pub(super) fn is_root() -> bool {
    geteuid().is_root()
}

/// Whether both capabilities are in force. A kernel that does not say leaves it to the tools.
pub(super) fn suffices() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    is_enough(&status).unwrap_or(true)
}

/// Whether a process has both in force, by its `/proc/<pid>/status`; `None` where that does not say.
pub(super) fn is_enough(status: &str) -> Option<bool> {
    effective(status).map(|held| held & NEEDED == NEEDED)
}

fn effective(status: &str) -> Option<u64> {
    let mut lines = status.lines();
    let held = lines.find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(held.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_set_in_force_counts() {
        let status = "Name:\tx\nCapPrm:\tffffffffffffffff\nCapEff:\t0000000000003000\n";
        assert_eq!(effective(status), Some(NEEDED));
        assert_eq!(effective("CapEff:\tx\n"), None);
        assert_eq!(effective(""), None);
    }
}
