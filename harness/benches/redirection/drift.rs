//! The time from a change by somebody else to rules that are right again.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use linkerd_harness::redirection;
use linkerd_harness_core::config::Mode;
use tokio::time::{sleep, timeout};

use crate::netns::Namespace;
use crate::owner::{LIMIT, Owner};
use crate::plans::RUN_DIR;
use crate::sizes;
use crate::spread::Spread;

const OWNERS: usize = 6;

/// More within a minute are a fight, which is not what is measured.
const REPAIRS: u64 = 4;

/// After which a look is not put off because of those before it.
const APART: Duration = Duration::from_millis(700);

pub(crate) fn measure(mode: Mode) {
    if mode == Mode::Legacy {
        println!("  event to repair: the kernel tells of none, rules are compared every 10 s");
        return;
    }
    let vm = Namespace::new("vm");
    let mut times = Vec::new();
    for _ in 0..OWNERS {
        vm.block_on(async {
            let mut owner = Owner::start(mode, sizes::default(), LIMIT).await;
            for repair in 1..=REPAIRS {
                sleep(APART).await;
                let over = vm.inside(|| undo(mode));
                let repaired = owner.phase.wait_for(|state| state.repairs >= repair);
                timeout(LIMIT, repaired).await.unwrap().unwrap();
                times.push(over.elapsed());
            }
        });
        vm.block_on(redirection::cleanup(Path::new(RUN_DIR)))
            .unwrap();
    }
    let times = Spread::of_millis(&times);
    println!(
        "  event to repair, ms: {times}, nine of ten below {:.2}  (aim 100)",
        times.p90()
    );
}

/// Takes the jumps away, and tells when that was over. The owner, on the same thread, cannot hear of it before.
fn undo(mode: Mode) -> Instant {
    let words: &[&str] = match mode {
        Mode::Nftables => &["flush", "table", "inet", "linkerd_proxy_harness"],
        _ => &["flush", "chain", "ip", "nat", "PREROUTING"],
    };
    let undone = Command::new("nft")
        .args(words)
        .stdin(Stdio::null())
        .status();
    assert!(undone.unwrap().success(), "{words:?}");
    Instant::now()
}
