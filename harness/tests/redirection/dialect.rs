//! Programs that print the rules in other words than those that we know.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use linkerd_harness::redirection::{Firewall, Host};
use linkerd_harness_core::config::Mode;
use linkerd_harness_core::redirect::State;

use crate::backends::{MODE, mode_of_child, name, word};
use crate::netns::Namespace;
use crate::setup::{RUN_DIR, mk_plan, mk_plan_of, mk_redirect};

/// Tells the child whether the program prints the same each time, and where it remembers that it did not.
const STEADY: &str = "REDIRECTION_TEST_STEADY";
const PLAIN: &str = "REDIRECTION_TEST_PLAIN";

pub(crate) fn a_tool_with_other_words_is_understood(mode: Mode) {
    let program = match mode {
        Mode::Nftables => "nft".to_owned(),
        _ => format!("iptables-{}-save", name(mode)),
    };
    let other_words = match mode {
        Mode::Nftables => "s/tcp dport 22 /tcp dport ssh /",
        _ => "s/-p tcp -m comment/-p 6 -m comment/",
    };
    // Upgraded: in our words at first. Once: as if somebody changed the rules right after we wrote them, and then not again.
    for steady in ["yes", "once", "upgraded"] {
        let vm = Namespace::new("vm");
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(&program);
        let plain = dir.path().join("plain");
        let script = format!(
            "#!/bin/sh
            PATH=/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin
            out=$({program} \"$@\") || exit
            other=$(printf '%s\\n' \"$out\" | sed '{other_words}')
            if test ! -e {plain} && test \"$other\" != \"$out\"; then
                out=$other
                test ${STEADY} != once || touch {plain}
            fi
            printf '%s\\n' \"$out\"\n",
            plain = plain.display(),
        );
        std::fs::write(&file, script).unwrap();
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
        if steady == "upgraded" {
            std::fs::write(&plain, "").unwrap();
        }
        let exe = std::env::current_exe().unwrap();
        let said = vm.run(
            &[
                "env",
                &format!(
                    "PATH={}:/usr/sbin:/usr/bin:/sbin:/bin",
                    dir.path().display()
                ),
                &format!("{MODE}={}", word(mode)),
                &format!("{STEADY}={steady}"),
                &format!("{PLAIN}={}", plain.display()),
                exe.to_str().unwrap(),
                "dialect::with_another_tool",
                "--exact",
                "--ignored",
                "--nocapture",
            ],
            "",
        );
        assert!(said.contains("1 passed"), "{said}");
    }
}

#[test]
#[ignore = "the child of a_tool_with_other_words_is_understood"]
fn with_another_tool() {
    let mode = mode_of_child();
    let steady = std::env::var(STEADY).unwrap();
    let plain = std::env::var(PLAIN).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (host, _) = Host::open(mode, Path::new(RUN_DIR)).await.unwrap();
        let state = async |plan| host.look(plan).await.unwrap().state;
        let plan = mk_plan();
        host.apply(&plan).await.unwrap();
        if steady == "upgraded" {
            assert_eq!(state(&plan).await, State::Applied);
            std::fs::remove_file(&plain).unwrap();
            assert!(matches!(state(&plan).await, State::Drifted(_)));
            host.apply(&plan).await.unwrap();
            assert_eq!(state(&plan).await, State::Applied, "learned anew");
            return;
        }
        if steady == "once" {
            assert_eq!(state(&plan).await, State::Applied);
            std::fs::remove_file(plain).unwrap();
            assert!(
                matches!(state(&plan).await, State::Drifted(_)),
                "what was seen once is not what the program prints"
            );
            return;
        }
        assert_eq!(state(&plan).await, State::Applied);
        // Known for this plan, and for no other.
        let mut redirect = mk_redirect(false);
        redirect.inbound_ignore = vec!["9".parse().unwrap()];
        let other = mk_plan_of(&redirect);
        assert!(matches!(state(&other).await, State::Drifted(_)));
        host.apply(&other).await.unwrap();
        assert_eq!(state(&other).await, State::Applied);
        assert!(matches!(state(&plan).await, State::Drifted(_)));
        // What drifts is seen all the same.
        host.withdraw().await.unwrap();
        assert!(matches!(state(&other).await, State::Drifted(_)));
        host.apply(&other).await.unwrap();
        assert_eq!(state(&other).await, State::Applied);
    });
}
