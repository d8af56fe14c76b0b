//! The plan and the driver that the tests use.

use std::path::Path;

use linkerd_harness::redirection::{self, Firewall, Host};
use linkerd_harness_core::config::{FailurePolicy, Mode, Redirect};
use linkerd_harness_core::redirect::nftables::TABLE;
use linkerd_harness_core::redirect::{GuardRail, Look, Plan, ProxyPorts, SshdFound, State};

use crate::backends::name;
use crate::netns::Namespace;

/// The proxy's uid in the tests.
pub(crate) const PROXY: u32 = 42_424;

/// No daemon's directory: root reads the kernel itself.
pub(crate) const RUN_DIR: &str = "/nonexistent/linkerd-proxy-harness";

pub(crate) fn mk_redirect(ipv6: bool) -> Redirect {
    Redirect {
        inbound_ports: vec![],
        inbound_ignore: vec!["4567-4568".parse().unwrap()],
        outbound_ignore: vec!["4567-4568".parse().unwrap()],
        subnets_ignore: vec![],
        subnets_redirect: vec![],
        ipv6,
        mode: Mode::Auto,
        failure_policy: FailurePolicy::Open,
    }
}

pub(crate) fn mk_plan_of(redirect: &Redirect) -> Plan {
    let ports = ProxyPorts {
        inbound: 4143,
        outbound: 4140,
        outbound_v6: 4150,
        admin: vec![4190, 4191, 4192],
    };
    let guard = [
        GuardRail::Sshd {
            port: 22,
            found: SshdFound::Listening,
        },
        GuardRail::ControlPlane("10.77.0.2:8081".parse().unwrap()),
    ];
    Plan::new(redirect, ports, PROXY, guard)
}

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
