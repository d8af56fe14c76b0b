//! `linkerd-proxy-harness redirect …`, as an operator types it.

use std::io::Write;
use std::process::{Child, Stdio};

use crate::program::{Host, PROGRAM, Said, until};
use crate::setup::PROXY;

/// Long enough that no test sees its end.
const FOR_EVER: &str = "redirect apply --confirm=1h";

#[test]
fn what_apply_brings_in_remove_takes_out() {
    let host = Host::new();
    let before = host.vm.rules("nft");
    let said = host.run("redirect apply");
    said.is(
        0,
        "redirected IPv4 through iptables-nft (the host has no rules yet), with ",
        "",
    );
    assert_eq!(said.stdout.lines().count(), 1, "{said:?}");
    assert_eq!(
        said.stderr,
        "warning: nothing listens on port 4143: new inbound connections are refused until the proxy does\n\
         warning: nothing listens on port 4140: new outbound connections are refused until the proxy does\n"
    );
    assert!(host.redirects());
    let rules = host.vm.rules("nft");
    assert!(
        rules.contains("-d 10.77.0.2/32 -p tcp -m tcp --dport 8081"),
        "{rules}"
    );
    host.vm.serve(4143, "inbound");
    host.vm.serve(4140, "outbound");
    let again = host.run("redirect apply");
    assert_eq!((again.code, again.stderr.as_str()), (Some(0), ""));
    assert_eq!(host.vm.rules("nft"), rules);
    host.run("redirect remove")
        .is(0, "removed IPv4 rules of iptables-nft", "");
    assert_eq!(
        without_kernel_chains(&host.vm.rules("nft")),
        without_kernel_chains(&before)
    );
    host.run("redirect remove")
        .is(0, "nothing of ours was there", "");
}

/// iptables-nft leaves the empty chains of the kernel.
fn without_kernel_chains(rules: &str) -> String {
    rules
        .lines()
        .filter(|line| line.starts_with("-A") || line.contains("PROXY"))
        .collect()
}

#[test]
fn while_the_daemon_runs_the_rules_are_its_own() {
    let host = Host::new();
    let daemon = host
        .command(&host.words("run"))
        .env("STATE_DIRECTORY", host.dir.path())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let daemon = Started(daemon);
    until("locked", || host.run("redirect remove").code == Some(1));
    for command in ["redirect apply", "redirect remove", FOR_EVER] {
        let said = host.run(command);
        said.is(
            1,
            "",
            "error: the daemon runs, and while it does the rules are its own\n\nhint: ",
        );
        assert!(
            said.stderr.contains("systemctl stop linkerd-proxy-harness"),
            "{said:?}"
        );
    }
    drop(daemon);
    host.run("redirect remove").is(0, "", "");
}

#[test]
fn unconfirmed_rules_are_taken_back_by_a_process_of_its_own() {
    let host = Host::new();
    // Not a terminal: the command does not wait, so what takes the rules back has outlived it.
    let said = host.run("redirect apply --confirm=1s");
    said.is(0, "redirected", "linkerd-proxy-harness redirect confirm");
    host.until_redirects(false);
    assert!(!host.vm.rules("nft").contains("PROXY_INIT"));
    until("said to be too late", || {
        host.run("redirect confirm")
            .stderr
            .contains("taken back already")
    });
    assert_eq!(host.run("redirect confirm").code, Some(1));
}

#[test]
fn the_daemons_lock_in_other_hands_does_not_keep_unconfirmed_rules() {
    let host = Host::new();
    let terminal = terminal(&host, "redirect apply --confirm=3s");
    host.until_redirects(true);
    // As the daemon's own user, with our own program: it has the lock, and no capability.
    let user = PROXY.to_string();
    let run = host.dir.path().join("run");
    std::fs::create_dir_all(&run).unwrap();
    for place in [host.dir.path(), &run] {
        std::os::unix::fs::chown(place, Some(PROXY), Some(PROXY)).unwrap();
    }
    let mut words: Vec<String> = [
        "setpriv",
        "--reuid",
        &user,
        "--regid",
        &user,
        "--clear-groups",
    ]
    .map(str::to_owned)
    .into();
    words.extend(host.words("run"));
    let impostor = host
        .command(&words)
        .env("STATE_DIRECTORY", host.dir.path())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let impostor = Started(impostor);
    until("locked", || {
        let lock = std::fs::File::open(run.join("daemon.lock"));
        lock.is_ok_and(|lock| lock.try_lock_shared().is_err())
    });
    assert!(host.redirects(), "the lock came in time");
    let output = terminal.wait_with_output().unwrap();
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(shown.contains("everything was taken back"), "{shown}");
    assert!(!host.redirects());
    drop(impostor);
}

#[test]
fn what_the_running_daemon_has_is_not_taken_back_and_not_called_confirmed() {
    let host = Host::new();
    let terminal = terminal(&host, "redirect apply --confirm=4s");
    host.until_redirects(true);
    // Without `prepare`, which calls the hold off.
    let daemon = host
        .command(&host.words("run"))
        .env("STATE_DIRECTORY", host.dir.path())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let daemon = Started(daemon);
    let output = terminal.wait_with_output().unwrap();
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(
        shown.contains("not taken back, for the daemon runs") && !shown.contains("confirmed: "),
        "{shown}"
    );
    drop(daemon);
    host.run("redirect confirm")
        .is(1, "", "error: nothing waits to be confirmed");
}

#[test]
fn a_confirmation_from_anywhere_keeps_the_rules() {
    let host = Host::new();
    host.run("redirect confirm")
        .is(1, "", "error: nothing waits to be confirmed");
    host.run(FOR_EVER).is(0, "redirected", "");
    host.run("redirect confirm").is(0, "confirmed", "");
    // Who would have taken them back is gone, and has left nothing.
    until("clean", || files(&host).is_empty());
    assert!(host.redirects());
}

#[test]
fn a_second_hold_takes_the_place_of_the_first() {
    let host = Host::new();
    host.run("redirect apply --confirm=4s")
        .is(0, "redirected", "");
    host.run(FOR_EVER).is(0, "redirected", "");
    until("called off", || files(&host).len() == 2);
    assert!(host.redirects());
    host.run("redirect confirm").is(0, "confirmed", "");
    until("clean", || files(&host).is_empty());
    assert!(host.redirects());
}

#[test]
fn a_second_hold_that_nobody_would_take_back_leaves_the_first() {
    let host = Host::new();
    // Removed while it runs, the program cannot be started again to take the rules back.
    let copy = host.dir.path().join("program");
    let words = host.words(FOR_EVER);
    let once = format!(
        "exec 3<{0}; rm {0}; exec /proc/self/fd/3 \"$@\"",
        copy.display()
    );
    let mut command = vec!["bash".to_owned(), "-c".to_owned(), once, "bash".to_owned()];
    command.extend_from_slice(&words[1..]);
    let failing = || {
        let mut command = host.command(&command);
        std::fs::copy(PROGRAM, &copy).unwrap();
        let said = Said::from(command.output().unwrap());
        said.is(
            71,
            "",
            "cannot start what takes the rules back, so nothing was changed",
        );
    };
    failing();
    assert!(!host.redirects());
    host.run("redirect confirm")
        .is(1, "", "error: nothing waits to be confirmed");
    host.run(FOR_EVER).is(0, "redirected", "");
    let first = std::fs::read_to_string(host.dir.path().join("run-root/redirect-pending"));
    failing();
    let waits = std::fs::read_to_string(host.dir.path().join("run-root/redirect-pending"));
    assert_eq!(waits.unwrap(), first.unwrap());
    host.run("redirect confirm").is(0, "confirmed", "");
    until("clean", || {
        !files(&host).iter().any(|name| name.contains("watched"))
    });
    assert!(host.redirects());
}

#[test]
fn a_removal_by_hand_calls_the_hold_off() {
    let host = Host::new();
    host.run(FOR_EVER).is(0, "redirected", "");
    host.run("redirect remove").is(0, "removed", "");
    until("clean", || files(&host).is_empty());
}

#[test]
fn the_start_of_the_daemon_calls_the_hold_off() {
    let host = Host::new();
    host.run(FOR_EVER).is(0, "redirected", "");
    host.run("prepare").is(0, "", "");
    until("clean", || files(&host).is_empty());
    assert!(!host.redirects(), "rules of an earlier start are removed");
}

#[test]
fn the_start_of_the_unit_calls_the_hold_off_where_systemd_gives_its_directory_away() {
    let host = Host::new();
    host.run(FOR_EVER).is(0, "redirected", "");
    std::fs::create_dir_all(host.dir.path().join("run")).unwrap();
    // As `RuntimeDirectory=` does with one that it finds to be root's.
    let run = host.dir.path().join("run");
    let words = [
        "chown",
        "--recursive",
        &PROXY.to_string(),
        &run.display().to_string(),
    ];
    let given = host.command(&words.map(str::to_owned)).status().unwrap();
    assert!(given.success());
    host.run("prepare").is(0, "", "");
    until("clean", || files(&host).is_empty());
}

#[test]
fn enter_in_the_same_terminal_confirms() {
    let host = Host::new();
    let mut terminal = terminal(&host, FOR_EVER);
    host.until_redirects(true);
    terminal.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    let output = terminal.wait_with_output().unwrap();
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && shown.contains("confirmed: the rules stay"),
        "{shown}"
    );
    until("clean", || files(&host).is_empty());
    assert!(host.redirects());
}

#[test]
fn a_terminal_that_waits_tells_that_it_was_too_late() {
    let host = Host::new();
    let output = terminal(&host, "redirect apply --confirm=1s")
        .wait_with_output()
        .unwrap();
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.code() == Some(1) && shown.contains("everything was taken back"),
        "{shown}"
    );
    assert!(!host.redirects());
}

#[test]
fn a_terminal_that_hangs_up_does_not_keep_the_rules() {
    let host = Host::new();
    let mut terminal = terminal(&host, "redirect apply --confirm=8s");
    host.until_redirects(true);
    // With it goes the terminal: the kernel sends SIGHUP to all that is in its foreground.
    terminal.kill().unwrap();
    terminal.wait().unwrap();
    host.until_redirects(false);
}

/// Killed on drop.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        assert!(self.0.kill().is_ok() && self.0.wait().is_ok());
    }
}

/// The files of holds.
fn files(host: &Host) -> Vec<String> {
    let names = std::fs::read_dir(host.dir.path().join("run-root")).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("redirect-")).collect()
}

/// The command in a terminal of its own.
fn terminal(host: &Host, args: &str) -> Child {
    let line = host.words(args).join(" ");
    let words = [
        "script",
        "--quiet",
        "--return",
        "--command",
        &line,
        "/dev/null",
    ];
    host.command(&words.map(str::to_owned))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}
