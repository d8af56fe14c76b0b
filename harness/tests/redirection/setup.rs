//! The driver that the tests use, and what is there of ours.

use std::path::Path;

use linkerd_harness::redirection::{self, Firewall, Host};
use linkerd_harness_core::config::Mode;
use linkerd_harness_core::redirect::nftables::TABLE;
use linkerd_harness_core::redirect::{Look, Plan, State};

use crate::backends::name;
use crate::netns::Namespace;

pub(crate) use crate::plans::{PROXY, RUN_DIR, mk_plan_of, mk_redirect};

pub(crate) fn mk_plan() -> Plan {
    mk_plan_of(&mk_redirect(false))
}

pub(crate) fn apply(vm: &Namespace, mode: Mode, plan: &Plan) {
    vm.block_on(async {
        let (firewall, _) = Host::open(mode, Path::new(RUN_DIR)).await.unwrap();
        firewall.apply(plan).await.unwrap();
    });
}

pub(crate) fn prepare_connections(vm: &Namespace, mode: Mode) {
    vm.block_on(async {
        let (firewall, _) = Host::open(mode, Path::new(RUN_DIR)).await.unwrap();
        firewall.prepare_connections(&mk_plan()).await.unwrap();
    });
}

pub(crate) fn look(vm: &Namespace, mode: Mode, plan: &Plan) -> Look {
    vm.block_on(async {
        let (firewall, _) = Host::open(mode, Path::new(RUN_DIR)).await.unwrap();
        firewall.look(plan).await.unwrap()
    })
}

pub(crate) fn state(vm: &Namespace, mode: Mode, plan: &Plan) -> State {
    look(vm, mode, plan).state
}

/// All rules, without dates and counters, in the words of the backend's own program.
pub(crate) fn listing(vm: &Namespace, mode: Mode) -> String {
    match mode {
        Mode::Nftables => vm.run(&["nft", "-s", "list", "ruleset"], ""),
        _ => vm.rules(name(mode)),
    }
}

/// Whether there is anything of ours in this backend.
pub(crate) fn is_there(vm: &Namespace, mode: Mode) -> bool {
    let ours = match mode {
        Mode::Nftables => TABLE,
        _ => "PROXY_INIT",
    };
    listing(vm, mode).contains(ours)
}

/// Whether anything is redirected.
pub(crate) fn is_redirected(vm: &Namespace, mode: Mode) -> bool {
    let jump = match mode {
        Mode::Nftables => "jump proxy_init",
        _ => "-j PROXY_INIT",
    };
    listing(vm, mode).contains(jump)
}

pub(crate) fn cleanup(vm: &Namespace) -> Vec<String> {
    let removed = vm
        .block_on(redirection::cleanup(Path::new(RUN_DIR)))
        .unwrap();
    removed.iter().map(ToString::to_string).collect()
}

pub(crate) fn withdraw(vm: &Namespace, mode: Mode) {
    vm.block_on(async {
        let (firewall, _) = Host::open(mode, Path::new(RUN_DIR)).await.unwrap();
        firewall.withdraw().await.unwrap();
    });
}
