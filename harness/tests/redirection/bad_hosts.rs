//! Hosts that lack what redirection needs. Each gives one clear error with the remedy, the right exit code, and is left as
//! it was.
//!
//! A mount namespace hides or replaces the tools in `/usr/sbin`, also from a program that does not go by `PATH`, and has a
//! `/run` of its own, with its own xtables lock. What stands in for a tool says what the real one says.

#[path = "bad_hosts/daemon.rs"]
mod daemon;
#[path = "bad_hosts/lock.rs"]
mod lock;

use std::path::Path;
use std::process::Command;

use linkerd_harness::redirection::{Firewall, Host as Filter};
use linkerd_harness_core::config::Mode;
use linkerd_harness_core::redirect::State;
use serde_json::json;

use crate::netns::Namespace;
use crate::program::{Host, Said};
use crate::setup::{RUN_DIR, apply, is_there, mk_plan, state};

const APPLY: &str = "redirect apply";

/// Makes the directory that becomes `/usr/sbin`, in which what follows runs.
const PRELUDE: &str = r#"
T=$(mktemp -d "$1/host-XXXX"); shift
chmod 755 "$T"
mount --make-rprivate /
mount -t tmpfs tmpfs /run
mkdir -p "$T/real" "$T/sbin"
mount --bind /usr/sbin "$T/real"
ln -s "$T"/real/* "$T/sbin/"
cd "$T/sbin"
says() { # TOOL CODE TEXT: the tool ends so, and says that
  rm -f "$1"
  echo "$3" > "$T/$1.text"
  printf '#!/bin/sh\ncat %s >&2\nexit %s\n' "$T/$1.text" "$2" > "$1"
  chmod 755 "$1"
}
"#;

const NO_IPTABLES: &str = "rm *tables*";
const NO_LEGACY: &str = "rm *legacy*";
const NO_NFT_BACKEND: &str = "rm iptables-nft* ip6tables-nft* xtables-nft-multi";

/// The script with this in `$TEXT`.
fn says(text: &str, script: &str) -> String {
    format!("read -r TEXT <<'END'\n{text}\nEND\n{script}")
}

fn command(host: &Host, lacks: &str, before: &[&str], args: &str) -> Command {
    let script = format!(
        "{PRELUDE}\n{lacks}\nmount --bind \"$T/sbin\" /usr/sbin\ncd /\n\"$@\" || code=$?\n[ -z \"$holder\" ] || kill \"$holder\"\nexit ${{code:-0}}"
    );
    let dir = host.dir.path().display().to_string();
    let words = [
        "unshare",
        "--mount",
        "sh",
        "-euc",
        &format!("holder=\n{script}"),
        "sh",
        &dir,
    ]
    .into_iter()
    .chain(before.iter().copied())
    .map(str::to_owned)
    .chain(host.words(args))
    .collect::<Vec<_>>();
    host.command(&words)
}

fn run(host: &Host, lacks: &str, args: &str) -> Said {
    command(host, lacks, &[], args).output().unwrap().into()
}

/// The tables as the kernel has them, not only the rules.
fn everything(host: &Host) -> String {
    host.vm.run(&["nft", "list", "ruleset"], "") + &host.vm.rules("legacy")
}

/// One error, this hint, this code, and nothing changed: neither rules nor files.
fn refuses(host: &Host, said: &Said, before: &str, code: i32, error: &str, hint: &str) {
    assert_eq!(said.code, Some(code), "{said:?}");
    assert_eq!(said.stdout, "");
    assert_eq!(said.stderr.matches("error: ").count(), 1, "{}", said.stderr);
    for part in [error, hint] {
        assert!(
            said.stderr.contains(part),
            "no `{part}` in\n{}",
            said.stderr
        );
    }
    assert_eq!(everything(host), before);
}

/// A rule of somebody else's.
fn masquerade(host: &Host, backend: &str) {
    let iptables = format!("iptables-{backend}");
    let rule = ["-t", "nat", "-A", "POSTROUTING", "-j", "MASQUERADE"];
    let words: Vec<&str> = [iptables.as_str()].into_iter().chain(rule).collect();
    host.vm.run(&words, "");
}

fn lacks(lacks: &str, keys: &serde_json::Value, code: i32, error: &str, hint: &str) {
    let host = Host::with(keys);
    masquerade(&host, "nft");
    let before = everything(&host);
    let said = run(&host, lacks, APPLY);
    refuses(&host, &said, &before, code, error, hint);
    assert!(!said.stderr.contains("warning"), "{}", said.stderr);
}

#[test]
fn no_iptables_program() {
    lacks(
        &format!("{NO_IPTABLES}; rm -f nft"),
        &json!({}),
        69,
        "error: no iptables program is installed",
        "apt-get install iptables",
    );
}

#[test]
fn the_configured_backend_is_not_installed() {
    lacks(
        NO_LEGACY,
        &json!({ "IPTablesMode": "legacy" }),
        69,
        "error: IPTablesMode is `legacy`, but iptables-legacy is not installed",
        "IPTablesMode `auto`",
    );
}

#[test]
fn a_program_without_kernel_support() {
    for text in [
        "iptables/1.8.4 Failed to initialize nft: Protocol not supported",
        "iptables v1.8.7 (nf_tables): Could not fetch rule set generation id: Invalid argument",
        "iptables-nft-save v1.8.10 (nf_tables): Failed to initialize nft: Protocol not supported",
    ] {
        let broken = says(
            text,
            &format!(
                "{NO_LEGACY}; rm -f nft; for t in iptables ip6tables; do for v in save restore; do says $t-nft-$v 1 \"$TEXT\"; done; done"
            ),
        );
        lacks(
            &broken,
            &json!({}),
            71,
            "the kernel has no support for table nat",
            text,
        );
    }
}

#[test]
fn a_kernel_without_address_translation() {
    // Reading works, writing does not: what a kernel without nf_nat or xt_REDIRECT does.
    let text = "iptables-restore v1.8.9 (nf_tables): RULE_APPEND failed (No such file or directory): rule in chain PROXY_INIT_REDIRECT";
    lacks(
        &says(text, "says iptables-nft-restore 4 \"$TEXT\""),
        &json!({ "IPTablesMode": "nft" }),
        71,
        "error: cannot prepare the IPv4 rules of iptables-nft\n  caused by: ",
        "hint: the kernel lacks support for it; try: modprobe -a",
    );
    let text = "iptables v1.8.7 (legacy): can't initialize iptables table `nat': Table does not exist (do you need to insmod?)";
    lacks(
        &says(text, "says iptables-legacy-save 3 \"$TEXT\""),
        &json!({ "IPTablesMode": "legacy" }),
        71,
        "iptables-legacy",
        "do you need to insmod?",
    );
}

#[test]
fn a_program_that_cannot_run_is_no_proof_that_nothing_is_there() {
    for (mode, program, package) in [
        ("nftables", "nft", "nftables"),
        ("nft", "iptables-nft-save", "iptables"),
    ] {
        let host = Host::with(&json!({ "IPTablesMode": mode }));
        run(&host, "", APPLY).is(0, "through", "");
        let before = everything(&host);
        let text = format!(
            "{program}: error while loading shared libraries: lib.so.1: cannot open shared object file: No such file or directory"
        );
        let broken = says(&text, &format!("says {program} 127 \"$TEXT\""));
        let said = run(&host, &broken, "redirect remove");
        let hint = format!("apt-get install --reinstall {package}");
        refuses(&host, &said, &before, 69, "error while loading", &hint);
    }
}

#[test]
fn a_table_that_only_nft_can_read_and_there_is_no_nft() {
    let host = Host::with(&json!({ "IPTablesMode": "nft" }));
    run(&host, "", APPLY).is(0, "through", "");
    let rule = "add rule ip nat PREROUTING tcp dport { 81, 444 } redirect to :8081";
    host.vm.run(&["nft", "-f", "-"], rule);
    let before = everything(&host);
    let said = run(&host, "rm nft", "redirect remove");
    let error = "nft, which can, is not installed (try: apt-get install nftables)";
    refuses(&host, &said, &before, 69, error, "");
    run(&host, "", "redirect remove").is(0, "removed", "");
    let left = everything(&host);
    assert!(!left.contains("PROXY_INIT"), "{left}");
}

#[test]
fn leftovers_of_another_mode_are_taken_out_as_soon_as_they_can_be() {
    let vm = Namespace::new("vm");
    apply(&vm, Mode::Legacy, &mk_plan());
    let legacy = vm.run(&["iptables-legacy-save", "-t", "nat"], "");
    vm.block_on(async {
        let lock = lock::hold();
        let (firewall, _) = Filter::open(Mode::Nftables, Path::new(RUN_DIR))
            .await
            .unwrap();
        for error in [
            firewall.apply(&mk_plan()).await.unwrap_err(),
            firewall.look(&mk_plan()).await.map(drop).unwrap_err(),
        ] {
            let said = error.to_string();
            assert!(
                said.contains("remove the IPv4 rules of iptables-legacy"),
                "{said}"
            );
        }
        drop(lock);
        let look = firewall.look(&mk_plan()).await.unwrap();
        assert_eq!(look.state, State::Applied);
    });
    assert!(!is_there(&vm, Mode::Legacy), "{}", vm.rules("legacy"));
    // What was there before we came is found too.
    vm.run(&["iptables-legacy-restore", "--wait=5"], &legacy);
    assert!(is_there(&vm, Mode::Legacy));
    assert_eq!(state(&vm, Mode::Nftables, &mk_plan()), State::Applied);
    assert!(!is_there(&vm, Mode::Legacy), "{}", vm.rules("legacy"));
}

#[test]
fn ipv6_is_wanted_and_there_is_no_ip6tables() {
    lacks(
        "rm ip6tables*",
        &json!({ "IPv6": true, "IPTablesMode": "nft" }),
        69,
        "error: no IPv6 program of iptables-nft is installed",
        "IPv6 `false`",
    );
}

#[test]
fn neither_root_nor_the_capabilities() {
    let host = Host::new();
    let before = everything(&host);
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(host.dir.path(), mode).unwrap();
    let as_root = [
        "setpriv",
        "--bounding-set",
        "-net_admin",
        "--inh-caps",
        "-net_admin",
    ];
    let as_user = [
        "setpriv",
        "--reuid",
        "42424",
        "--regid",
        "42424",
        "--clear-groups",
        "--inh-caps",
        "-all",
    ];
    for who in [&as_root[..], &as_user] {
        for args in [APPLY, "redirect apply --confirm=60s", "redirect remove"] {
            let said = command(&host, "", who, args).output().unwrap().into();
            let error = "error: not allowed to change the rules of this host: CAP_NET_ADMIN and CAP_NET_RAW are missing";
            refuses(
                &host,
                &said,
                &before,
                71,
                error,
                "hint: put sudo in front of the command",
            );
        }
    }
    assert!(!host.dir.path().join("run").exists());
}

#[test]
fn a_wrong_configuration() {
    let host = Host::with(&json!({ "IPv6": "perhaps" }));
    let before = everything(&host);
    refuses(&host, &host.run(APPLY), &before, 78, "error: `", "IPv6");
}

#[test]
fn one_backend_is_enough() {
    let host = Host::new();
    run(&host, NO_LEGACY, APPLY).is(0, "through iptables-nft", "");
    assert!(host.redirects());
    let host = Host::new();
    run(&host, &format!("{NO_NFT_BACKEND}; rm -f nft"), APPLY).is(
        0,
        "through iptables-legacy (it is the only one that works)",
        "",
    );
    assert!(host.vm.rules("legacy").contains("-j PROXY_INIT_OUTPUT"));
    let host = Host::new();
    run(&host, NO_IPTABLES, APPLY).is(0, "through nftables (it is the only one that works)", "");
    let table = host.vm.run(&["nft", "list", "ruleset"], "");
    assert!(
        table.starts_with("table inet linkerd_proxy_harness"),
        "{table}"
    );
    run(&host, NO_IPTABLES, "redirect remove").is(0, "removed", "");
    assert_eq!(host.vm.run(&["nft", "list", "ruleset"], ""), "");
}
