//! Programs that print the rules in other words than those that we know.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use linkerd_harness::redirection::{Firewall, Host};
use linkerd_harness_core::config::Mode;
use linkerd_harness_core::redirect::State;

use crate::backends::{MODE, mode_of_child, name, word};
use crate::netns::Namespace;
use crate::setup::{RUN_DIR, mk_plan, mk_plan_of, mk_redirect};

/// Tells the child whether the program prints the same each time.
const STEADY: &str = "REDIRECTION_TEST_STEADY";

pub(crate) fn a_tool_with_other_words_is_understood(mode: Mode) {
    let program = match mode {
        Mode::Nftables => "nft".to_owned(),
        _ => format!("iptables-{}-save", name(mode)),
    };
    for (steady, other_words) in [
        (
            "yes",
            "s/tcp dport 22 /tcp dport ssh /; s/-p tcp -m comment/-p 6 -m comment/",
        ),
        // As of somebody who changes the rules whenever we have written them.
        (
            "no",
            "s/-o lo/-o lo$(date +%N)/; s/oifname .lo./oifname \"lo$(date +%N)\"/",
        ),
    ] {
        let vm = Namespace::new("vm");
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(&program);
        let script = format!(
            "#!/bin/sh\nPATH=/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin\nout=$({program} \"$@\") || exit\nprintf '%s\\n' \"$out\" | sed \"{}\"\n",
            other_words.replace('"', "\\\"")
        );
        std::fs::write(&file, script).unwrap();
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
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
    let steady = std::env::var(STEADY).unwrap() == "yes";
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (host, _) = Host::open(mode, Path::new(RUN_DIR)).await.unwrap();
        let state = async |plan| host.look(plan).await.unwrap().state;
        let plan = mk_plan();
        host.apply(&plan).await.unwrap();
        if !steady {
            assert!(matches!(state(&plan).await, State::Drifted(_)));
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
