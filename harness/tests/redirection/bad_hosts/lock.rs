//! The lock that all who write legacy tables share, in other hands.

use std::fs::File;
use std::process::Command;

use linkerd_harness::redirection::SWEEP;
use linkerd_harness_core::config::Mode;
use nix::sched::{CloneFlags, unshare};
use serde_json::json;

use super::{APPLY, everything, masquerade, refuses, run};
use crate::netns::Namespace;
use crate::owner::Owner;
use crate::program::Host;
use crate::setup::mk_plan;

/// Holds it, in a `/run` of this thread's own, so that other tests are not kept.
pub(super) fn hold() -> File {
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    for mount in ["--make-rprivate /", "-t tmpfs tmpfs /run"] {
        let mounted = Command::new("mount").args(mount.split(' ')).status();
        assert!(mounted.unwrap().success());
    }
    let lock = File::create("/run/xtables.lock").unwrap();
    lock.lock().unwrap();
    lock
}

#[test]
fn another_program_holds_the_xtables_lock() {
    let host = Host::with(&json!({ "IPTablesMode": "legacy" }));
    masquerade(&host, "legacy");
    let before = everything(&host);
    let held = "touch /run/xtables.lock; flock --no-fork /run/xtables.lock sleep 60 & holder=$!; \
                until grep -q \"FLOCK .* $holder \" /proc/locks; do sleep 0.01; done";
    let said = run(&host, held, APPLY);
    refuses(
        &host,
        &said,
        &before,
        69,
        "xtables lock",
        "(sleep) holds the xtables lock, /run/xtables.lock",
    );
}

#[test]
fn the_daemon_waits_a_held_lock_out_and_says_who_holds_it() {
    let vm = Namespace::new("vm");
    vm.block_on(async {
        let lock = hold();
        let mut owner = Owner::begin(Mode::Legacy, mk_plan(), SWEEP).await;
        let failed = owner.reports(|report| report.reason == "ApplyFailed");
        let said = failed.await.message;
        let holder = format!("pid {} (", std::process::id());
        assert!(
            said.contains(&holder) && said.contains("holds the xtables lock"),
            "{said}"
        );
        drop(lock);
        owner.reports(|report| report.reason == "Applied").await;
    });
    assert!(vm.rules("legacy").contains("-j PROXY_INIT_OUTPUT"));
}
