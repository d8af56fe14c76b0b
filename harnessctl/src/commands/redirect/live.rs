//! What root sees on this host without the daemon. Looks, and makes nothing: not even a table that is not there.

use std::path::{Path, PathBuf};
use std::process::Command;

use linkerd_harness_core::config::Mode;
use linkerd_harness_core::redirect::backend::Backend;
use linkerd_harness_core::redirect::nftables::{self, TABLE};
use linkerd_harness_core::redirect::{Family, Plan, State, iptables, show};

use crate::failure::{Failure, OS, Outcome, UNAVAILABLE};

/// Where programs are when `PATH` does not say.
const DIRECTORIES: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// Both sides, in the form of the backend that holds rules of ours, or else would.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) live: String,
    pub(super) wanted: String,
}

struct Seen {
    backend: Backend,
    text: String,
    /// Whether there is anything of ours.
    any: bool,
}

pub(super) fn look(plan: &Plan, mode: Mode) -> Outcome<Found> {
    let mut seen = Vec::new();
    let mut failed = None;
    for backend in Backend::ALL {
        let looked = match backend {
            Backend::Nft | Backend::Legacy => look_into(plan, backend),
            Backend::Nftables => look_into_table(plan),
        };
        match looked {
            Ok(found) => seen.extend(found),
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    // A backend that does not work here (a kernel without nf_tables) matters only when no other has rules of ours.
    if let Some(error) = failed
        && !seen.iter().any(|seen: &Seen| seen.any)
    {
        return Err(error);
    }
    let configured = |seen: &&Seen| match mode {
        Mode::Auto => false,
        Mode::Nft => seen.backend == Backend::Nft,
        Mode::Legacy => seen.backend == Backend::Legacy,
        Mode::Nftables => seen.backend == Backend::Nftables,
    };
    let with_ours = seen.iter().find(|seen| seen.any);
    let found = with_ours
        .or_else(|| seen.iter().find(configured))
        .or(seen.first());
    let found = found.ok_or_else(|| {
        Failure::new(UNAVAILABLE, "neither iptables nor nft is installed")
            .hint("apt-get install iptables")
    })?;
    Ok(Found {
        live: found.text.clone(),
        wanted: show(plan, found.backend),
    })
}

/// `None` without the backend's programs.
fn look_into(plan: &Plan, backend: Backend) -> Outcome<Option<Seen>> {
    let mut seen = Seen {
        backend,
        text: String::new(),
        any: false,
    };
    for family in plan.families() {
        let Some(program) = find(&save(backend, *family)) else {
            return Ok(None);
        };
        let dump = if backend == Backend::Legacy && !has_legacy_nat(*family) {
            String::new()
        } else {
            run(&program, &["-t", "nat"])?
        };
        seen.any |= State::of(plan, *family, &dump) != State::Absent;
        let live = iptables::live(plan, *family, &dump);
        seen.text.extend(["# ", &family.to_string(), "\n", &live]);
    }
    Ok(Some(seen))
}

/// To ask `iptables-legacy-save` of a table makes it.
fn has_legacy_nat(family: Family) -> bool {
    let list = match family {
        Family::V4 => "/proc/net/ip_tables_names",
        Family::V6 => "/proc/net/ip6_tables_names",
    };
    let tables = std::fs::read_to_string(list).unwrap_or_default();
    tables.lines().any(|table| table == "nat")
}

/// The table of our own.
fn look_into_table(plan: &Plan) -> Outcome<Option<Seen>> {
    let Some(program) = find("nft") else {
        return Ok(None);
    };
    let tables = run(&program, &["list", "tables"])?;
    let any = tables
        .lines()
        .any(|table| table == format!("table {TABLE}"));
    let mut seen = Seen {
        backend: Backend::Nftables,
        text: String::new(),
        any,
    };
    if any {
        let words: Vec<&str> = ["list", "table"]
            .into_iter()
            .chain(TABLE.split(' '))
            .collect();
        let listing = run(&program, &words)?;
        seen.text = match nftables::state(plan, Some(&listing)) {
            State::Applied => nftables::show(plan),
            _ => nftables::bare(&listing),
        };
    }
    Ok(Some(seen))
}

fn save(backend: Backend, family: Family) -> String {
    match family {
        Family::V4 => format!("iptables-{backend}-save"),
        Family::V6 => format!("ip6tables-{backend}-save"),
    }
}

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut files = std::env::split_paths(&path)
        .chain(DIRECTORIES.map(PathBuf::from))
        .map(|directory| directory.join(program));
    files.find(|file| file.is_absolute() && file.is_file())
}

fn run(program: &Path, words: &[&str]) -> Outcome<String> {
    let place = program.display();
    let output = Command::new(program)
        .args(words)
        .env("LC_ALL", "C")
        .output();
    let output =
        output.map_err(|error| Failure::new(OS, format!("cannot run {place}: {error}")))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let (said, words) = (said.trim().replace('\n', "; "), words.join(" "));
        return Err(Failure::new(
            OS,
            format!("`{place} {words}` failed: {said}"),
        ));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
