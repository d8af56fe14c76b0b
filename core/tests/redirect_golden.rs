//! Configuration in, text out: `golden/redirect/<case>`. `UPDATE_GOLDEN=1` writes the files anew.
#![expect(clippy::unwrap_used, reason = "test support")]

use std::net::SocketAddr;
use std::path::PathBuf;

use linkerd_harness_core::config::{FailurePolicy, Mode, Redirect};
use linkerd_harness_core::redirect::backend::Backend;
use linkerd_harness_core::redirect::{GuardRail, Plan, ProxyPorts, SshdFound, show};

fn mk_redirect() -> Redirect {
    Redirect {
        inbound_ports: vec![],
        inbound_ignore: mk_list("4567,4568"),
        outbound_ignore: mk_list("4567,4568"),
        subnets_ignore: vec![],
        subnets_redirect: vec![],
        ipv6: false,
        mode: Mode::Auto,
        failure_policy: FailurePolicy::Open,
    }
}

fn mk_list<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> Vec<T> {
    let words = text.split(',').filter(|word| !word.is_empty());
    words.map(|word| word.parse().unwrap()).collect()
}

fn mk_ports() -> ProxyPorts {
    ProxyPorts {
        inbound: 4143,
        outbound: 4140,
        outbound_v6: 4140,
        admin: vec![4190, 4191, 4192],
    }
}

fn mk_guard() -> Vec<GuardRail> {
    let addr = |text: &str| text.parse::<SocketAddr>().unwrap();
    vec![
        GuardRail::Sshd {
            port: 22,
            found: SshdFound::Listening,
        },
        GuardRail::SshSession {
            peer: addr("192.0.2.9:1").ip(),
            port: 22,
        },
        GuardRail::ControlPlane(addr("10.0.0.81:8081")),
    ]
}

/// Compares with the golden file, or writes it.
fn check(case: &str, redirect: &Redirect) {
    check_plan(case, &Plan::new(redirect, mk_ports(), 998, mk_guard()));
}

fn check_plan(case: &str, plan: &Plan) {
    for (backend, extension) in [(Backend::Nft, "iptables"), (Backend::Nftables, "nft")] {
        let text = show(plan, backend);
        let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests/golden/redirect", case]
            .iter()
            .collect();
        let path = path.with_extension(extension);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let golden = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, golden, "{case}: differs from {}", path.display());
    }
}

#[test]
fn the_default_configuration_gives_the_rules_that_operators_know() {
    check("default", &mk_redirect());
}

#[test]
fn ports_to_redirect_limit_what_is_redirected_inbound() {
    let mut redirect = mk_redirect();
    redirect.inbound_ports = mk_list("443,80,8000-8010");
    check("inbound_ports", &redirect);
}

#[test]
fn ignored_ports_are_grouped_by_fifteen_and_ranges_count_twice() {
    let mut redirect = mk_redirect();
    let odd: Vec<String> = (0..17).map(|n| (1001 + 2 * n).to_string()).collect();
    redirect.inbound_ignore = mk_list(&odd.join(","));
    redirect.outbound_ignore =
        mk_list("10-20,30-40,50-60,70-80,90-100,110-120,130-140,150-160,3306,5432");
    check("ports_ignore", &redirect);
}

#[test]
fn ignored_subnets_are_left_alone_in_both_directions() {
    let mut redirect = mk_redirect();
    redirect.subnets_ignore = mk_list("192.168.7.9/16,10.1.0.0/24,10.1.1.0/24,2001:db8::/32");
    check("subnets_ignore", &redirect);
}

#[test]
fn subnets_to_redirect_limit_what_is_redirected_outbound() {
    let mut redirect = mk_redirect();
    redirect.subnets_redirect = mk_list("10.244.0.0/16,10.0.0.0/16,2001:db8::/32");
    check("subnets_redirect", &redirect);
    redirect.subnets_redirect = mk_list("0.0.0.0/0");
    check("subnets_redirect_all", &redirect);
}

#[test]
fn ipv6_gives_the_same_rules_for_its_own_addresses() {
    let mut redirect = mk_redirect();
    redirect.ipv6 = true;
    redirect.subnets_ignore = mk_list("10.1.0.0/24,2001:db8:1::/48");
    redirect.subnets_redirect = mk_list("10.0.0.0/8,2001:db8::/32");
    let mut ports = mk_ports();
    ports.outbound_v6 = 4150;
    let guard = mk_guard().into_iter().chain([GuardRail::SpireServer(
        "[2001:db8:9::1]:8081".parse().unwrap(),
    )]);
    let plan = Plan::new(&redirect, ports, 998, guard);
    check_plan("ipv6", &plan);
}

#[test]
fn other_ports_of_proxy_ssh_and_admin_are_followed() {
    let ports = ProxyPorts {
        inbound: 14143,
        outbound: 14140,
        outbound_v6: 14140,
        admin: vec![4190, 9991, 9992],
    };
    let guard = [
        GuardRail::Sshd {
            port: 2222,
            found: SshdFound::SocketUnit,
        },
        GuardRail::SshSession {
            peer: "192.0.2.9".parse().unwrap(),
            port: 2200,
        },
        GuardRail::SpireServer("192.0.2.1:8081".parse().unwrap()),
    ];
    let plan = Plan::new(&mk_redirect(), ports, 2102, guard);
    check_plan("other_ports", &plan);
}

#[test]
fn every_guard_rail_says_why() {
    let plan = Plan::new(&mk_redirect(), mk_ports(), 998, mk_guard());
    let reasons: Vec<String> = plan.guard_rails().iter().map(ToString::to_string).collect();
    for reason in [
        "inbound port 22: SSH server (it listens there)",
        "inbound port 22 from 192.0.2.9: live SSH session",
        "inbound port 4192: administration of the harness or the proxy",
        "outbound to 169.254.0.0/16: link-local or cloud metadata",
        "outbound to 10.0.0.81:8081: control plane",
    ] {
        assert!(
            reasons.iter().any(|found| found == reason),
            "{reason} in {reasons:#?}"
        );
    }
}

#[test]
fn hundreds_of_ports_and_subnets_stay_a_handful_of_rules() {
    let mut redirect = mk_redirect();
    redirect.inbound_ports = mk_list(
        &(1000..1500)
            .map(|p| p.to_string())
            .collect::<Vec<_>>()
            .join(","),
    );
    redirect.subnets_ignore = mk_list(
        &(0..500)
            .map(|n| format!("10.{}.{}.0/24", n / 256, n % 256))
            .collect::<Vec<_>>()
            .join(","),
    );
    let plan = Plan::new(&redirect, mk_ports(), 998, []);
    assert!(show(&plan, Backend::Nft).lines().count() < 40);
    let table = show(&plan, Backend::Nftables);
    assert!(table.matches("counter").count() < 15, "{table}");
}
