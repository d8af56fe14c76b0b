//! Which tables of the legacy packet filter exist. To ask `iptables-legacy` would make them, so the kernel is asked.

use std::io;
use std::path::Path;

use linkerd_harness_core::redirect::Family;

use super::run_file;
use crate::paths;

/// Left by root for the daemon: the kernel shows its list to root only.
const FILE: &str = "legacy-tables";

const TABLES: [&str; 5] = ["nat", "filter", "mangle", "raw", "security"];

/// The tables of a family, or an empty list.
///
/// Without root: what root saw before the daemon started, and what modules are loaded. Missed is then only a table that
/// came later on a kernel that has it built in.
pub(super) fn tables(family: Family, run_dir: &Path) -> Vec<String> {
    match std::fs::read_to_string(kernel_list(family)) {
        Ok(names) => names.lines().map(str::to_owned).collect(),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let left = run_file::read_trusted(&paths::roots(run_dir), FILE).unwrap_or_default();
            let (prefix, module) = match family {
                Family::V4 => ("4", "iptable"),
                Family::V6 => ("6", "ip6table"),
            };
            let seen = |table: &str| {
                left.lines()
                    .any(|line| line.split_once(' ') == Some((prefix, table)))
            };
            let loaded = |table: &str| {
                Path::new("/sys/module")
                    .join(format!("{module}_{table}"))
                    .exists()
            };
            TABLES
                .into_iter()
                .filter(|table| seen(table) || loaded(table))
                .map(str::to_owned)
                .collect()
        }
        // Not there: the kernel has no legacy filter, or not yet.
        Err(_) => vec![],
    }
}

/// Writes down, as root, what the daemon may not read.
pub(super) fn leave(run_dir: &Path) -> io::Result<()> {
    let mut text = String::new();
    for (family, prefix) in [(Family::V4, "4"), (Family::V6, "6")] {
        for table in tables(family, run_dir) {
            text.extend([prefix, " ", &table, "\n"]);
        }
    }
    run_file::write(&paths::roots(run_dir), FILE, &text)
}

fn kernel_list(family: Family) -> &'static str {
    match family {
        Family::V4 => "/proc/thread-self/net/ip_tables_names",
        Family::V6 => "/proc/thread-self/net/ip6_tables_names",
    }
}
