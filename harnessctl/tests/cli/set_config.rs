#![expect(clippy::unwrap_used, reason = "test support")]

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::{Host, PROGRAM, WALK_THROUGH, result};

/// A user who is not root (Debian's `nobody`).
const NOBODY: u32 = 65534;

#[test]
fn the_walk_through_is_answered_word_for_word() {
    let host = Host::empty();
    let done = host.run(&WALK_THROUGH);
    assert_eq!(
        (done.code, done.stdout.as_str(), done.stderr.as_str()),
        (0, "Config updated\n", "")
    );
    let expected = r#"{
  "WorkloadGroup": {
    "Name": "training-vm",
    "Namespace": "training"
  },
  "Control": {
    "Address": "linkerd-autoregistration.linkerd.svc.cluster.local.:8081",
    "ServerId": "linkerd-autoregistration.linkerd.serviceaccount.identity.linkerd.cluster.local"
  }
}
"#;
    assert_eq!(host.content(), expected);
    assert_eq!(host.names(), ["linkerd-proxy-harness.cfg"]);
}

#[test]
fn the_daemon_can_read_the_file_whatever_the_umask() {
    let host = Host::empty();
    let script = "umask 077; exec \"$@\"";
    let done = Command::new("sh")
        .args(["-c", script, "sh", PROGRAM, "--config"])
        .arg(host.path())
        .args(WALK_THROUGH)
        .output()
        .unwrap();
    assert_eq!(done.status.code(), Some(0));
    assert_eq!(fs::metadata(host.path()).unwrap().mode() & 0o7777, 0o644);
}

#[test]
fn an_empty_value_takes_a_key_out() {
    let host = Host::configured();
    let before = host.content();
    assert_eq!(
        host.run(&["set-config", "--ports-to-redirect=80,8000-8100"])
            .code,
        0
    );
    assert!(host.content().contains("8000-8100"));
    assert_eq!(host.run(&["set-config", "--ports-to-redirect="]).code, 0);
    assert_eq!(host.content(), before);
}

#[test]
fn keys_may_be_set_one_after_another_and_the_missing_ones_are_named() {
    let host = Host::empty();
    let done = host.run(&["set-config", "--workload-group-name=training-vm"]);
    assert_eq!((done.code, done.stdout.as_str()), (0, "Config updated\n"));
    let expected = "note: still to be set before the daemon can start: --workload-group-namespace=NAME \
                    --control-plane-address=HOST:PORT --control-plane-identity=NAME\n";
    assert_eq!(done.stderr, expected);
    assert_eq!(
        host.run(&["-q", "set-config", "--workload-group-name=other"])
            .stderr,
        ""
    );
}

#[test]
fn every_wrong_value_is_reported_and_the_file_stays_as_it_was() {
    let host = Host::configured();
    let before = host.content();
    let done = host.run(&[
        "set-config",
        "--ports-to-redirect=80,http,90-80",
        "--subnets-to-ignore=10.0.0.0/33",
        "--shutdown-grace-period=soon",
        "--workload-group-name=",
        "--control-plane-identity=a..b",
        "--log-level=debug",
    ]);
    assert_eq!((done.code, done.stdout.as_str()), (78, ""));
    for expected in [
        "error: 6 problems in the configuration\n",
        "PortsToRedirect: \"http\" is not a port",
        "PortsToRedirect: \"90-80\" is not a port",
        "SubnetsToIgnore: \"10.0.0.0/33\" is not a network",
        "ShutdownGracePeriod: \"soon\" is not a duration",
        "WorkloadGroup.Name: \"\" is empty",
        "Control.ServerId: \"a..b\" is not a DNS name",
        "remedy: harnessctl set-config --workload-group-name=NAME",
    ] {
        assert!(
            done.stderr.contains(expected),
            "{expected}\n{}",
            done.stderr
        );
    }
    assert_eq!(host.content(), before);
    assert_eq!(host.names(), ["linkerd-proxy-harness.cfg"]);
}

#[test]
fn unknown_flags_are_all_named_with_what_was_meant_and_with_the_wrong_values() {
    let host = Host::configured();
    let before = host.content();
    let done = host.run(&[
        "set-config",
        "--workload-group-nmae=x",
        "--ipv7",
        "true",
        "--ports-to-redirect=0",
    ]);
    assert_eq!((done.code, done.stdout.as_str()), (64, ""));
    for expected in [
        "--workload-group-nmae: is not a flag\n      remedy: did you mean --workload-group-name?",
        "--ipv7: is not a flag\n      remedy: did you mean --ipv6?",
        "PortsToRedirect: \"0\" is not a port",
    ] {
        assert!(
            done.stderr.contains(expected),
            "{expected}\n{}",
            done.stderr
        );
    }
    assert_eq!(host.content(), before);
}

#[test]
fn a_damaged_file_is_not_touched() {
    for damaged in [
        &b"{\"LogLevel\": \"in"[..],
        b"{\"LogLevel\": \"\xff\"}",
        b"[]",
        b"{\"Loglevel\": \"info\"}",
    ] {
        let host = Host::empty();
        host.write(damaged);
        let done = host.run(&WALK_THROUGH);
        assert_eq!(
            (done.code, done.stdout.as_str()),
            (78, ""),
            "{}",
            done.stderr
        );
        assert!(
            done.stderr
                .starts_with("error: 1 problem in the configuration\n"),
            "{}",
            done.stderr
        );
        assert_eq!(fs::read(host.path()).unwrap(), damaged);
    }
}

#[test]
fn what_is_no_file_of_ours_is_neither_followed_nor_waited_for() {
    let host = Host::empty();
    let elsewhere = host.directory.path().join("elsewhere");
    fs::write(&elsewhere, "{}").unwrap();
    symlink(&elsewhere, host.path()).unwrap();
    let done = host.run(&WALK_THROUGH);
    assert_eq!(done.code, 1);
    assert!(
        done.stderr
            .contains("it is a symbolic link, which is not followed"),
        "{}",
        done.stderr
    );
    assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "{}");

    for make in ["mkdir", "mkfifo"] {
        let host = Host::empty();
        assert!(
            Command::new(make)
                .arg(host.path())
                .status()
                .unwrap()
                .success()
        );
        let done = host.run(&WALK_THROUGH);
        assert_eq!(done.code, 1);
        assert!(
            done.stderr.contains("it is not a regular file"),
            "{make}: {}",
            done.stderr
        );
    }
}

#[test]
fn a_file_that_the_unprivileged_daemon_may_have_planted_is_not_edited() {
    let host = Host::empty();
    host.write("{\"ProxyPath\": \"/tmp/evil\"}");
    chown(host.path(), Some(NOBODY), None).unwrap();
    let done = host.run(&WALK_THROUGH);
    assert_eq!(done.code, 1);
    assert!(
        done.stderr.contains("belongs to uid 65534"),
        "{}",
        done.stderr
    );
    assert!(host.content().contains("evil"));
}

#[test]
fn a_directory_that_is_not_there_is_named() {
    let host = Host::empty();
    fs::remove_dir(host.directory.path()).unwrap();
    let done = host.run(&WALK_THROUGH);
    fs::create_dir(host.directory.path()).unwrap();
    assert_eq!(done.code, 1);
    let expected = format!(
        "error: cannot open {}: no such file or directory\n",
        host.directory.path().display()
    );
    assert_eq!(done.stderr, expected);
}

#[test]
fn who_is_not_root_is_told_to_use_sudo() {
    let host = Host::configured();
    let before = host.content();
    // The build directory may be closed to others.
    let program = host.directory.path().join("harnessctl");
    // By another process: a child that another test makes meanwhile would have it open for writing, and nobody can run it then.
    let copied = Command::new("cp").arg(PROGRAM).arg(&program).status();
    assert!(copied.unwrap().success());
    for mode in [0o755, 0o711] {
        fs::set_permissions(host.directory.path(), Permissions::from_mode(mode)).unwrap();
        let mut command = Command::new(&program);
        command
            .uid(NOBODY)
            .gid(NOBODY)
            .arg("--config")
            .arg(host.path());
        let done = result(
            command
                .args(["set-config", "--log-level=debug"])
                .output()
                .unwrap(),
        );
        assert_eq!((done.code, done.stdout.as_str()), (1, ""));
        assert!(
            done.stderr
                .contains("permission denied\nhint: only root may: put sudo"),
            "{}",
            done.stderr
        );
        assert_eq!(host.content(), before);

        let mut command = Command::new(&program);
        command
            .uid(NOBODY)
            .gid(NOBODY)
            .arg("--config")
            .arg(host.path());
        let looked = result(command.arg("get-config").output().unwrap());
        assert_eq!(
            (looked.code, looked.stderr.as_str()),
            (0, ""),
            "looking needs no root"
        );
    }
}

#[test]
fn writers_at_the_same_time_all_take_effect() {
    let host = Host::configured();
    let flags = [
        "--log-level=debug",
        "--log-format=json",
        "--ipv6=true",
        "--iptables-mode=nft",
        "--failure-policy=open",
        "--proxy-user-id=997",
        "--ports-to-redirect=80",
        "--inbound-ports-to-ignore=22",
        "--outbound-ports-to-ignore=25",
        "--subnets-to-ignore=10.0.0.0/8",
        "--subnets-to-redirect=192.0.2.0/24",
        "--advertise-addresses=192.0.2.1",
        "--shutdown-grace-period=31s",
        "--dns-min-ttl=11s",
        "--dns-max-ttl=11m",
        "--identity-backoff-min=101ms",
        "--identity-backoff-max=2s",
        "--identity-backoff-jitter=0.2",
        "--identity-trust-anchors=/etc/anchors.pem",
        "--proxy-path=/opt/linkerd2-proxy",
    ];
    let start = |flag: &&str| {
        let mut command = host.command(&["set-config", flag]);
        command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let writers: Vec<_> = flags.iter().map(start).collect();
    for writer in writers {
        let done = result(writer.wait_with_output().unwrap());
        assert_eq!(
            (done.code, done.stdout.as_str()),
            (0, "Config updated\n"),
            "{}",
            done.stderr
        );
    }
    let shown = host.run(&["get-config"]).stdout;
    let from_file = shown.lines().filter(|line| line.ends_with(" file")).count();
    assert_eq!(from_file, 4 + flags.len(), "{shown}");
    assert_eq!(host.names(), ["linkerd-proxy-harness.cfg"]);
}

#[test]
fn a_lock_that_is_never_given_back_ends_in_an_error() {
    let host = Host::configured();
    let before = host.content();
    let directory = File::open(host.directory.path()).unwrap();
    directory.lock().unwrap();
    let done = host.run(&["set-config", "--log-level=debug"]);
    assert_eq!(done.code, 1);
    assert!(
        done.stderr.contains("another program has locked"),
        "{}",
        done.stderr
    );
    assert_eq!(host.content(), before);
}

/// A file system of a few pages, gone with the value.
struct Tiny {
    path: PathBuf,
}

impl Tiny {
    fn mount(path: &Path, options: &str) -> Self {
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(path);
        assert!(
            mount.status().unwrap().success(),
            "this test needs root, to mount a tmpfs"
        );
        Self {
            path: path.to_owned(),
        }
    }
}

impl Drop for Tiny {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(&self.path).status();
        assert!(unmounted.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}

#[test]
fn a_full_disk_leaves_the_old_file_and_nothing_else() {
    // Out of space, and out of inodes (one for the root, one for each of our two files).
    for options in ["size=16k", "size=1m,nr_inodes=3"] {
        let host = Host::empty();
        let _tiny = Tiny::mount(host.directory.path(), options);
        assert_eq!(host.run(&WALK_THROUGH).code, 0);
        let before = host.content();
        let filler = host.directory.path().join("filler");
        let full = fs::write(&filler, vec![0; 1 << 16]).is_err();
        assert_eq!(
            full,
            options == "size=16k",
            "the test must fill the disk or use up the inodes"
        );
        let done = host.run(&["set-config", "--log-level=debug"]);
        assert_eq!((done.code, done.stdout.as_str()), (1, ""), "{options}");
        assert!(
            done.stderr.contains("no space left on device"),
            "{options}: {}",
            done.stderr
        );
        assert_eq!(host.content(), before);
        assert_eq!(host.names(), ["filler", "linkerd-proxy-harness.cfg"]);
        fs::remove_file(&filler).unwrap();
        assert_eq!(host.run(&["set-config", "--log-level=debug"]).code, 0);
    }
}
