//! Which backend is chosen, and that looking leaves no trace.

use std::path::Path;

use linkerd_harness::redirection::{Firewall, Iptables};
use linkerd_harness_core::config::Mode;
use linkerd_harness_core::redirect::backend::{Backend, Choice, Warning};

use crate::netns::Namespace;
use crate::setup::{RUN_DIR, apply, cleanup, mk_plan, state};

fn choose(vm: &Namespace) -> (Backend, Option<Warning>) {
    let (
        _,
        Choice {
            backend, warning, ..
        },
    ) = vm
        .block_on(Iptables::open(Mode::Auto, Path::new(RUN_DIR)))
        .unwrap();
    (backend, warning)
}

#[test]
fn looking_makes_no_table_in_either_backend() {
    let vm = Namespace::new("vm");
    assert_eq!(choose(&vm), (Backend::Nft, None));
    state(&vm, Mode::Auto, &mk_plan());
    cleanup(&vm);
    vm.block_on(async {
        let (firewall, _) = Iptables::open(Mode::Auto, Path::new(RUN_DIR))
            .await
            .unwrap();
        firewall.withdraw().await.unwrap();
    });
    assert_eq!(vm.run(&["nft", "list", "ruleset"], ""), "");
    apply(&vm, Mode::Auto, &mk_plan());
    cleanup(&vm);
    for tables in ["/proc/net/ip_tables_names", "/proc/net/ip6_tables_names"] {
        assert_eq!(vm.run(&["cat", tables], ""), "", "{tables}");
    }
}

#[test]
fn auto_goes_where_the_rules_of_the_host_are() {
    let vm = Namespace::new("vm");
    vm.run(
        &["iptables-legacy", "-w", "5", "-A", "INPUT", "-j", "ACCEPT"],
        "",
    );
    assert_eq!(choose(&vm), (Backend::Legacy, None));
    vm.run(
        &[
            "iptables-nft",
            "-t",
            "nat",
            "-A",
            "POSTROUTING",
            "-j",
            "MASQUERADE",
        ],
        "",
    );
    assert_eq!(choose(&vm), (Backend::Nft, Some(Warning::Mixed)));
    vm.run(&["iptables-legacy", "-w", "5", "-F", "INPUT"], "");
    assert_eq!(choose(&vm), (Backend::Nft, None));
}

#[test]
fn rules_of_ours_do_not_decide() {
    let vm = Namespace::new("vm");
    apply(&vm, Mode::Legacy, &mk_plan());
    assert_eq!(choose(&vm), (Backend::Nft, None));
}
