//! Which backend is chosen, and that looking leaves no trace.

use std::path::Path;

use linkerd_harness::redirection::{self, Firewall, Host, Phase, SWEEP};
use linkerd_harness_core::config::Mode;
use linkerd_harness_core::redirect::State;
use linkerd_harness_core::redirect::backend::{Backend, Choice, Warning};

use crate::netns::Namespace;
use crate::owner::Owner;
use crate::setup::{RUN_DIR, apply, cleanup, mk_plan, mk_plan_of, mk_redirect, state};

fn choose(vm: &Namespace) -> (Backend, Option<Warning>) {
    let (
        _,
        Choice {
            backend, warning, ..
        },
    ) = vm
        .block_on(Host::open(Mode::Auto, Path::new(RUN_DIR)))
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
        let (firewall, _) = Host::open(Mode::Auto, Path::new(RUN_DIR)).await.unwrap();
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
    for mode in [Mode::Legacy, Mode::Nftables] {
        apply(&vm, mode, &mk_plan());
        assert_eq!(choose(&vm), (Backend::Nft, None), "{mode:?}");
    }
}

/// Tells the child which programs it has.
const INSTALLED: &str = "REDIRECTION_TEST_INSTALLED";

#[test]
fn what_is_installed_is_enough_to_choose_and_to_clean_up() {
    for installed in ["nft", "iptables", "nothing"] {
        let vm = Namespace::new("vm");
        apply(&vm, Mode::Nftables, &mk_plan());
        // A program that is no file is not installed. The mounts end with the child.
        let child = "set -e
            hide() { mount --bind /dev/null \"$(readlink -f \"$(command -v \"$1\")\")\"; }
            case $REDIRECTION_TEST_INSTALLED in *nft*) ;; *) hide nft ;; esac
            case $REDIRECTION_TEST_INSTALLED in *iptables*) ;; *) hide iptables-nft; hide iptables-legacy ;; esac
            exec \"$0\" choice::with_what_is_installed --exact --ignored --nocapture";
        let exe = std::env::current_exe().unwrap();
        let variable = format!("{INSTALLED}={installed}");
        let words = [
            "unshare",
            "--mount",
            "env",
            &variable,
            "sh",
            "-c",
            child,
            exe.to_str().unwrap(),
        ];
        let said = vm.run(&words, "");
        assert!(said.contains("1 passed"), "{said}");
    }
}

#[test]
#[ignore = "the child of what_is_installed_is_enough_to_choose_and_to_clean_up"]
fn with_what_is_installed() {
    let installed = std::env::var(INSTALLED).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let run_dir = Path::new(RUN_DIR);
        let auto = Host::open(Mode::Auto, run_dir).await;
        let auto = auto
            .map(|(_, choice)| choice.backend)
            .map_err(|error| error.to_string());
        let removed = redirection::cleanup(run_dir).await.unwrap().len();
        match installed.as_str() {
            "nft" => assert_eq!((auto, removed), (Ok(Backend::Nftables), 1)),
            "iptables" => assert_eq!((auto, removed), (Ok(Backend::Nft), 0)),
            _ => {
                let error = auto.unwrap_err();
                assert!(
                    error.contains("no iptables program is installed, nor nft"),
                    "{error}"
                );
                assert_eq!(removed, 0);
            }
        }
        if installed != "nft" {
            let error = Host::open(Mode::Nftables, run_dir)
                .await
                .unwrap_err()
                .to_string();
            assert!(error.contains("apt-get install nftables"), "{error}");
        }
    });
}

/// Not a thing that iptables can read.
const NATIVE: &str = "table ip nat {\n\tchain PREROUTING {\n\t\ttype nat hook prerouting priority -100;\n\t\ttcp dport { 81, 444 } redirect to :8081\n\t}\n}\n";

#[test]
fn auto_avoids_a_table_that_iptables_cannot_read() {
    let vm = Namespace::new("vm");
    vm.run(&["nft", "-f", "-"], NATIVE);
    let before = vm.run(&["nft", "list", "table", "ip", "nat"], "");
    assert_eq!(choose(&vm), (Backend::Nftables, None));
    apply(&vm, Mode::Auto, &mk_plan());
    assert_eq!(state(&vm, Mode::Auto, &mk_plan()), State::Applied);
    assert_eq!(
        cleanup(&vm),
        ["table inet linkerd_proxy_harness of nftables"]
    );
    assert_eq!(vm.run(&["nft", "list", "table", "ip", "nat"], ""), before);
}

#[test]
fn rules_in_a_table_that_iptables_cannot_read_any_more_are_withdrawn_and_removed() {
    for (table, family) in [("ip nat", "IPv4"), ("ip6 nat", "IPv6")] {
        let vm = Namespace::new("vm");
        let plan = mk_plan_of(&mk_redirect(true));
        apply(&vm, Mode::Nft, &plan);
        let words: Vec<&str> = ["nft", "list", "table"]
            .into_iter()
            .chain(table.split(' '))
            .collect();
        let rules = || vm.run(&words, "");
        vm.block_on(async {
            let (host, _) = Host::open(Mode::Nft, Path::new(RUN_DIR)).await.unwrap();
            vm.run(&["nft", "-f", "-"], &NATIVE.replace("ip nat", table));
            let before = rules();
            assert_eq!(before.matches("jump PROXY_INIT_").count(), 2, "{before}");
            let error = host.look(&plan).await.map(drop).unwrap_err();
            let hint = error.hint().unwrap_or_default();
            assert!(hint.contains("IPTablesMode `nftables`"), "{error}: {hint}");
            let error = host.apply(&plan).await.unwrap_err();
            assert!(error.to_string().contains(family), "{error}");
            let hint = error.hint().unwrap_or_default();
            assert!(hint.contains("IPTablesMode `nftables`"), "{error}: {hint}");
            let after = rules();
            assert!(
                after.matches("jump PROXY_INIT_").count() <= 2,
                "piled up: {after}"
            );
            host.withdraw().await.unwrap();
        });
        let withdrawn = rules();
        assert!(!withdrawn.contains("jump PROXY_INIT_"), "{withdrawn}");
        assert!(withdrawn.contains("chain PROXY_INIT_OUTPUT"), "{withdrawn}");
        let removed = ["IPv4", "IPv6"].map(|family| format!("{family} rules of iptables-nft"));
        assert_eq!(cleanup(&vm), removed);
        assert_eq!(cleanup(&vm), [""; 0]);
        let left = rules();
        assert!(!left.contains("PROXY_INIT"), "{left}");
        assert!(left.contains("redirect to :8081"), "{left}");
    }
}

#[test]
fn the_owner_says_what_keeps_it_from_reading_and_withdraws_all_the_same() {
    let vm = Namespace::new("vm");
    let rules = || vm.run(&["nft", "list", "table", "ip", "nat"], "");
    vm.block_on(async {
        let mut owner = Owner::start(Mode::Nft, mk_plan(), SWEEP).await;
        vm.run(&["nft", "-f", "-"], NATIVE);
        let failed = owner.reports(|report| report.reason == "CheckFailed");
        let said = failed.await.message;
        assert!(said.contains("IPTablesMode `nftables`"), "{said}");
        assert!(
            rules().matches("jump PROXY_INIT_").count() <= 2,
            "{}",
            rules()
        );
        owner.plans.send_replace(None);
        owner.stands(Phase::Removed).await;
    });
    assert!(!rules().contains("jump PROXY_INIT_"), "{}", rules());
}
