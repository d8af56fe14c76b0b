//! As the daemon runs: a plain user with `CAP_NET_ADMIN` and `CAP_NET_RAW`.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use linkerd_harness::redirection::{self, Firewall, Heard, Host, listen};
use linkerd_harness_core::config::Mode;
use linkerd_harness_core::redirect::State;
use linkerd_harness_core::redirect::backend::Backend;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::backends::{MODE, mode_of_child, word};
use crate::netns::Namespace;
use crate::setup::{PROXY, RUN_DIR, is_redirected, mk_plan, mk_redirect};

pub(crate) fn the_daemon_needs_two_capabilities_and_no_root(mode: Mode) {
    let vm = Namespace::new("vm");
    let run_dir = tempfile::tempdir().unwrap();
    let mut redirect = mk_redirect(false);
    redirect.mode = mode;
    // Root's part. It shares the machine's xtables lock with the group of the tests' daemon, as the unit does.
    let prepared = vm.block_on(redirection::prepare(
        &redirect,
        Path::new("/nonexistent"),
        &run_dir.path().join("run"),
        PROXY,
    ));
    assert_eq!(prepared.problems, [""; 0]);
    let rest = [
        "privileges::as_the_daemon",
        "--exact",
        "--ignored",
        "--nocapture",
    ];
    let user = PROXY.to_string();
    let setpriv = |capabilities: &'static str| {
        let mut command = Command::new("ip");
        command.args([
            "netns",
            "exec",
            vm.name(),
            "setpriv",
            "--reuid",
            &user,
            "--regid",
            &user,
            "--clear-groups",
        ]);
        command.args(["--inh-caps", capabilities, "--ambient-caps", capabilities]);
        command
            .arg(std::env::current_exe().unwrap())
            .args(rest)
            .env(MODE, word(mode));
        command.output().unwrap()
    };
    let output = setpriv("+net_admin,+net_raw");
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}"
    );
    assert!(!is_redirected(&vm, mode));
    let output = setpriv("-all");
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && said.contains("CAP_NET_ADMIN and CAP_NET_RAW"),
        "{said}"
    );
}

#[test]
#[ignore = "the child of the_daemon_needs_two_capabilities_and_no_root"]
fn as_the_daemon() {
    let mode = mode_of_child();
    assert_eq!(nix::unistd::geteuid().as_raw(), PROXY);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let plan = mk_plan();
        let opened = Host::open(mode, Path::new(RUN_DIR)).await;
        let (firewall, choice) = opened.unwrap_or_else(|error| panic!("{error}"));
        let (heard_out, mut heard) = watch::channel(Heard::default());
        tokio::spawn(listen(choice.backend, heard_out));
        tokio::task::yield_now().await;
        firewall.apply(&plan).await.unwrap_or_else(|error| {
            panic!(
                "{error}: {:?}: {:?}",
                error.hint(),
                std::error::Error::source(&error)
            )
        });
        assert_eq!(firewall.look(&plan).await.unwrap().state, State::Applied);
        if mode != Mode::Legacy {
            let told = heard.wait_for(|heard| heard.count() > 0);
            let told = timeout(Duration::from_secs(60), told).await;
            assert!(told.is_ok(), "the kernel tells the daemon of changes");
        }
        // Root's directory is not given here, so rules in a legacy table cannot be seen by looking for tables.
        firewall.withdraw().await.unwrap();
        assert!(
            matches!(firewall.look(&plan).await.unwrap().state, State::Drifted(_)),
            "no jumps any more"
        );
    });
}

/// Tells the child where root left what it found out.
const LEFT_IN: &str = "REDIRECTION_TEST_LEFT_IN";

#[test]
fn rules_of_the_legacy_filter_are_seen_without_root() {
    let vm = Namespace::new("vm");
    let rule = ["iptables-legacy", "-w", "5", "-A", "INPUT", "-j", "ACCEPT"];
    vm.run(&rule, "");
    let run_dir = tempfile::tempdir().unwrap();
    let all = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(run_dir.path(), all).unwrap();
    let redirect = mk_redirect(false);
    let nowhere = Path::new("/nonexistent");
    let prepared = vm.block_on(redirection::prepare(
        &redirect,
        nowhere,
        &run_dir.path().join("run"),
        PROXY,
    ));
    assert_eq!(prepared.problems, [""; 0]);
    let user = PROXY.to_string();
    let output = Command::new("ip")
        .args(["netns", "exec", vm.name(), "setpriv", "--reuid", &user])
        .args(["--regid", &user, "--clear-groups"])
        .args(["--inh-caps", "+net_admin,+net_raw"])
        .args(["--ambient-caps", "+net_admin,+net_raw"])
        .arg(std::env::current_exe().unwrap())
        .args([
            "privileges::as_the_daemon_that_chooses",
            "--exact",
            "--ignored",
        ])
        .env(LEFT_IN, run_dir.path().join("run"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}"
    );
}

#[test]
#[ignore = "the child of rules_of_the_legacy_filter_are_seen_without_root"]
fn as_the_daemon_that_chooses() {
    let run_dir = std::env::var(LEFT_IN).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    for mode in [Mode::Auto, Mode::Legacy] {
        let opened = runtime.block_on(Host::open(mode, Path::new(&run_dir)));
        let (_, choice) = opened.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(choice.backend, Backend::Legacy, "{mode:?}");
    }
}

#[test]
fn without_the_privilege_to_be_told_of_changes_the_daemon_says_so_and_goes_on() {
    let vm = Namespace::new("vm");
    let user = PROXY.to_string();
    let output = Command::new("ip")
        .args(["netns", "exec", vm.name(), "setpriv", "--reuid", &user])
        .args(["--clear-groups", "--inh-caps", "-all"])
        .arg(std::env::current_exe().unwrap())
        .args([
            "privileges::as_nobody",
            "--exact",
            "--ignored",
            "--nocapture",
        ])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}"
    );
    let told = "the kernel does not tell of changes to nf_tables";
    assert_eq!(said.matches(told).count(), 1, "{said}");
}

#[test]
#[ignore = "the child of without_the_privilege_to_be_told_of_changes_the_daemon_says_so_and_goes_on"]
fn as_nobody() {
    tracing_subscriber::fmt().with_ansi(false).init();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let listener = tokio::spawn(listen(Backend::Nft, watch::Sender::new(Heard::default())));
        // Long enough for some more attempts.
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(!listener.is_finished());
    });
}
