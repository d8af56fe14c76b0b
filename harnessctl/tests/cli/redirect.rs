//! Looking at the rules: with a daemon, without, and against the real kernel in a network namespace.
#![expect(clippy::unwrap_used, reason = "test support")]

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use linkerd_harness_core::redirect::GuardRail;
use linkerd_harness_core::redirect::page::{Chosen, Page, Reasoned, Seen};

use crate::support::{Host, PROGRAM, Result, host_with_daemon, nobody, respond, result};

fn mk_page(live: Option<(&str, &str)>) -> Page {
    let rail = GuardRail::AdminPort(4191);
    Page {
        backend: Some(Chosen {
            name: "legacy".to_owned(),
            because: "it is configured".to_owned(),
        }),
        text: BTreeMap::from(["nft", "legacy"].map(|name| (name.to_owned(), format!("*{name}\n")))),
        guard_rails: vec![Reasoned {
            reason: rail.to_string(),
            rail,
        }],
        live: live.map(|(live, wanted)| Seen {
            at: "2026-11-23T08:00:00Z".to_owned(),
            age_seconds: 3,
            state: "drifted".to_owned(),
            drift: vec![],
            wanted: wanted.to_owned(),
            text: live.to_owned(),
            rules: vec![],
        }),
    }
}

fn told(page: &Page, arguments: &[&str]) -> Result {
    host_with_daemon(vec![respond(&serde_json::to_string(page).unwrap())]).run(arguments)
}

/// A host without a daemon, on which root has found sshd at another port.
fn mk_host() -> Host {
    let host = Host::configured();
    let admin = format!("--admin-address={}", nobody());
    let set = host.run(&[
        "set-config",
        &admin,
        "--proxy-user-id=42424",
        "--control-plane-address=10.77.0.2:8081",
    ]);
    assert_eq!(set.code, 0, "{}", set.stderr);
    let found = r#"{"rails":[{"sshd":{"port":2222,"found":"listening"}}]}"#;
    std::fs::create_dir(host.directory.path().join("run-root")).unwrap();
    std::fs::write(left_by_root(&host), found).unwrap();
    host
}

/// Root's file, in its own directory beside the daemon's.
fn left_by_root(host: &Host) -> std::path::PathBuf {
    host.directory.path().join("run-root/guard-rails.json")
}

fn command(host: &Host, arguments: &[&str]) -> Command {
    let mut command = host.command(arguments);
    command.env("RUNTIME_DIRECTORY", host.directory.path().join("run"));
    command
}

#[test]
fn the_daemon_is_asked_what_it_would_apply() {
    let shown = told(&mk_page(None), &["redirect", "show"]);
    let expected = "# never redirected:\n\
                    #   inbound port 4191: administration of the harness or the proxy\n\
                    *legacy\n";
    assert_eq!((shown.code, shown.stdout.as_str()), (0, expected));
    assert_eq!(shown.stderr, "note: backend legacy, for it is configured\n");
    let shown = told(&mk_page(None), &["redirect", "show", "--backend=nft", "-q"]);
    assert!(
        shown.stdout.ends_with("*nft\n") && shown.stderr.is_empty(),
        "{shown:?}"
    );
    let shown = told(&mk_page(None), &["redirect", "show", "--output=json"]);
    let json: serde_json::Value = serde_json::from_str(&shown.stdout).unwrap();
    assert_eq!(json["guard_rails"][0]["rail"]["admin-port"], 4191);
    assert_eq!(json["text"], "*legacy\n");
}

#[test]
fn without_daemon_and_root_the_text_is_computed_and_what_is_unknown_is_said() {
    let host = mk_host();
    let shown = result(command(&host, &["redirect", "show"]).output().unwrap());
    assert_eq!(shown.code, 0, "{}", shown.stderr);
    for line in [
        "#   inbound port 2222: SSH server (it listens there)",
        "#   outbound to 10.77.0.2:8081: control plane",
        "*nat",
        "-A PROXY_INIT_OUTPUT -m owner --uid-owner 42424 -m comment --comment \"proxy-init/ignore-proxy-user-id\" -j RETURN",
        "COMMIT",
    ] {
        assert!(
            shown.stdout.lines().any(|said| said == line),
            "no `{line}` in\n{}",
            shown.stdout
        );
    }
    assert!(
        shown
            .stderr
            .contains("not known without the daemon: the backend"),
        "{}",
        shown.stderr
    );
    assert!(!shown.stderr.contains("sshd"), "{}", shown.stderr);
}

#[test]
fn without_what_root_left_the_usual_port_is_assumed_and_said() {
    let host = mk_host();
    std::fs::write(left_by_root(&host), "nonsense").unwrap();
    let shown = result(command(&host, &["redirect", "show"]).output().unwrap());
    assert!(
        shown
            .stdout
            .contains("inbound port 22: SSH server (assumed"),
        "{}",
        shown.stdout
    );
    assert!(
        shown.stderr.contains("the ports of sshd, so 22 is assumed"),
        "{}",
        shown.stderr
    );
}

#[test]
fn the_spire_server_that_root_found_is_exempt_as_the_daemon_would_have_it() {
    let host = mk_host();
    let show = |server: &str| {
        let left =
            format!(r#"{{"rails":[{{"control-plane":"127.0.0.1:1"}}],"spire_server":"{server}"}}"#);
        std::fs::write(left_by_root(&host), left).unwrap();
        result(command(&host, &["redirect", "show"]).output().unwrap())
    };
    let by_address = show("10.77.0.9:8081");
    assert!(
        by_address
            .stdout
            .contains("outbound to 10.77.0.9:8081: SPIRE server"),
        "{}",
        by_address.stdout
    );
    assert!(
        !by_address.stdout.contains("127.0.0.1"),
        "{}",
        by_address.stdout
    );
    let by_name = show("spire.example:8081");
    assert!(
        by_name.stderr.contains("spire.example:8081 (SPIRE server)"),
        "{}",
        by_name.stderr
    );
}

#[test]
fn a_wrong_configuration_is_told_with_its_own_code() {
    let shown = Host::empty().run(&["redirect", "show"]);
    assert_eq!((shown.code, shown.stdout.as_str()), (78, ""));
    assert!(
        shown.stderr.contains("sudo harnessctl set-config"),
        "{}",
        shown.stderr
    );
}

#[test]
fn a_difference_is_shown_and_is_an_exit_code() {
    let shown = told(&mk_page(Some(("a\nb\n", "a\n"))), &["redirect", "diff"]);
    let expected = "--- live\n+++ wanted\n@@ -1,2 +1 @@\n a\n-b\n";
    assert_eq!((shown.code, shown.stdout.as_str()), (1, expected));
    assert_eq!(
        shown.stderr,
        "note: the daemon looked 3 s ago, and repairs what differs\n"
    );
    let shown = told(&mk_page(Some(("a\n", "a\n"))), &["redirect", "diff"]);
    assert_eq!((shown.code, shown.stdout.as_str()), (0, "no difference\n"));
    let shown = told(
        &mk_page(Some(("a\n", "b\n"))),
        &["redirect", "diff", "--output=json"],
    );
    let json: serde_json::Value = serde_json::from_str(&shown.stdout).unwrap();
    assert_eq!(
        (shown.code, &json["differs"], &json["age_seconds"]),
        (1, &true.into(), &3.into())
    );
}

#[test]
fn a_daemon_that_wants_nothing_or_can_do_nothing_says_so() {
    let shown = told(&mk_page(None), &["redirect", "diff"]);
    assert_eq!(shown.code, 0);
    assert!(
        shown.stdout.contains("nothing is to be redirected now"),
        "{}",
        shown.stdout
    );
    let page = Page {
        backend: None,
        ..mk_page(None)
    };
    let shown = told(&page, &["redirect", "diff"]);
    assert_eq!((shown.code, shown.stdout.as_str()), (69, ""));
    assert!(
        shown.stderr.contains("hint: harnessctl status"),
        "{}",
        shown.stderr
    );
}

#[test]
fn without_daemon_and_root_nobody_can_compare() {
    let host = mk_host();
    let mut words = command(&host, &["redirect", "diff"]);
    // The configuration is made readable for the user that asks.
    Command::new("chmod")
        .args(["-R", "a+rX"])
        .arg(host.directory.path())
        .status()
        .unwrap();
    if nix::unistd::geteuid().is_root() {
        words.uid(65_534);
    }
    let shown = result(words.output().unwrap());
    assert_eq!((shown.code, shown.stdout.as_str()), (69, ""));
    assert!(
        shown.stderr.contains("only root may look") && shown.stderr.contains("hint: sudo"),
        "{}",
        shown.stderr
    );
}

#[test]
fn what_is_shown_can_be_loaded_and_is_then_no_difference() {
    let in_nat = "*nat\n-I PREROUTING 1 -p tcp -j ACCEPT\n-D PROXY_INIT_OUTPUT 2\nCOMMIT\n";
    let in_table = "flush chain inet linkerd_proxy_harness proxy_init_output\n\
                    add rule inet linkerd_proxy_harness prerouting meta l4proto tcp accept\n";
    for (backend, tamper, too_much) in [
        ("nft", in_nat, "\n--A PREROUTING -p tcp -j ACCEPT\n"),
        ("legacy", in_nat, "\n--A PREROUTING -p tcp -j ACCEPT\n"),
        ("nftables", in_table, "accept\n"),
    ] {
        let namespace = Namespace::new(backend);
        let host = mk_host();
        let set = host.run(&["set-config", &format!("--iptables-mode={backend}")]);
        assert_eq!(set.code, 0, "{}", set.stderr);
        let diff = || namespace.run(&host, &["redirect", "diff", "-q"]);
        let shown = namespace.run(&host, &["redirect", "show", "-q"]);
        assert_eq!(shown.code, 0, "{}", shown.stderr);
        let missing = diff();
        assert_eq!(missing.code, 1, "{}", missing.stderr);
        let jump = |line: &str| line.starts_with('+') && line.contains("install-proxy-init-output");
        assert!(missing.stdout.lines().any(jump), "{}", missing.stdout);
        namespace.load(backend, &shown.stdout);
        let same = diff();
        let said = (same.code, same.stdout.as_str(), same.stderr.as_str());
        assert_eq!(said, (0, "no difference\n", ""), "{backend}");
        namespace.load(backend, tamper);
        let differs = diff();
        assert_eq!(differs.code, 1);
        let lacks = |line: &str| line.starts_with('+') && line.contains("ignore-loopback");
        assert!(differs.stdout.lines().any(lacks), "{}", differs.stdout);
        assert!(differs.stdout.contains(too_much), "{}", differs.stdout);
    }
}

/// A network namespace, deleted on drop. Needs root, and fails without.
struct Namespace(String);

impl Namespace {
    fn new(role: &str) -> Self {
        let new = Self(format!("lph-ctl-{}-{role}", std::process::id()));
        let added = Command::new("ip")
            .args(["netns", "add", &new.0])
            .status()
            .unwrap();
        assert!(
            added.success(),
            "run this test as root: it makes network namespaces"
        );
        let up = Command::new("ip")
            .args(["-n", &new.0, "link", "set", "lo", "up"])
            .status();
        assert!(up.unwrap().success());
        new
    }

    fn run(&self, host: &Host, arguments: &[&str]) -> Result {
        let inner = command(host, arguments);
        let mut outer = Command::new("ip");
        outer
            .args(["netns", "exec", &self.0, PROGRAM])
            .args(inner.get_args());
        outer.env("RUNTIME_DIRECTORY", host.directory.path().join("run"));
        result(outer.output().unwrap())
    }

    fn load(&self, backend: &str, text: &str) {
        let restore = format!("iptables-{backend}-restore");
        let program: [&str; 3] = match backend {
            "nftables" => ["nft", "-f", "-"],
            _ => [&restore, "--noflush", "--wait=5"],
        };
        let mut child = Command::new("ip")
            .args(["netns", "exec", &self.0])
            .args(if backend == "nft" {
                &program[..2]
            } else {
                &program
            })
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
        assert!(child.wait().unwrap().success(), "{text}");
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let deleted = Command::new("ip").args(["netns", "del", &self.0]).status();
        assert!(deleted.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}
