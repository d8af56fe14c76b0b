//! `linkerd-proxy-harness prove`, as its unit runs it and by hand: its exit code, its answer, its end.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use linkerd_harness::proof::fingerprint;
use linkerd_harness_core::config::{Config, Mode};

use crate::netns::{Namespace, Net};
use crate::proof::{ALL, mk_both, mk_vm, no_link_is_left};
use crate::setup::{PROXY, apply};

/// A host with what the command reads and writes.
struct Host {
    net: Net,
    dir: tempfile::TempDir,
}

impl Host {
    fn new() -> Self {
        let host = Self {
            net: mk_vm(&ALL),
            dir: tempfile::tempdir().unwrap(),
        };
        let config = serde_json::json!({
            "ProxyUserID": PROXY,
            "WorkloadGroup": {"Name": "training-vm", "Namespace": "training"},
            "Control": {"Address": "linkerd-autoregistration.linkerd.svc.cluster.local.:8081",
                "ServerId": "linkerd-autoregistration.linkerd.serviceaccount.identity.linkerd.cluster.local"},
        });
        fs::write(host.path("config"), config.to_string()).unwrap();
        for directory in ["run", "run-root"] {
            fs::create_dir(host.path(directory)).unwrap();
        }
        apply(&host.net.vm, Mode::Nft, &mk_both());
        host
    }

    fn vm(&self) -> &Namespace {
        &self.net.vm
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `before` is what stands before the program: `setpriv …`.
    fn command(&self, before: &[&str], args: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", self.vm().name()])
            .args(before)
            .arg(env!("CARGO_BIN_EXE_linkerd-proxy-harness"))
            .args(["prove", "--config"])
            .arg(self.path("config"))
            .args(args)
            .env("RUNTIME_DIRECTORY", self.path("run"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn prove(&self, before: &[&str], args: &[&str]) -> (Option<i32>, String, String) {
        let Output {
            status,
            stdout,
            stderr,
        } = self.command(before, args).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (status.code(), text(&stdout), text(&stderr))
    }

    /// As the daemon does.
    fn ask(&self, id: u32, rules: u64) {
        let text = format!(r#"{{"id":{id},"rules":{rules},"outbound":false,"port":80}}"#);
        fs::write(self.path("run/prove"), text).unwrap();
    }

    /// What a daemon with this configuration says of it.
    fn rules(&self) -> u64 {
        let config = Config::from_bytes(&fs::read(self.path("config")).unwrap()).unwrap();
        fingerprint(&config)
    }

    fn answer(&self) -> String {
        fs::read_to_string(self.path("run-root/proof.json")).unwrap_or_default()
    }
}

#[test]
fn by_hand_it_prints_a_row_a_trial_and_its_code_tells_all() {
    let host = Host::new();
    let (code, table, said) = host.prove(&[], &[]);
    assert_eq!((code, said.as_str()), (Some(0), ""), "{table}");
    let rows: Vec<&str> = table.lines().collect();
    assert_eq!(rows.len(), 2, "{table}");
    assert!(
        rows[0].starts_with("inbound   IPv4  proven   10.77.0.1:1404 reached"),
        "{table}"
    );
    assert!(
        rows[1].starts_with("outbound  IPv4  proven   192.0.2.2:1404 reached"),
        "{table}"
    );
    assert_eq!(host.answer(), "", "nobody asked");
    host.vm()
        .run(&["iptables-nft", "-t", "nat", "-F", "OUTPUT"], "");
    let (code, table, _) = host.prove(&[], &[]);
    assert_eq!(code, Some(1), "{table}");
}

#[test]
fn as_the_daemon_asks_it_answers_in_a_directory_that_is_roots() {
    let host = Host::new();
    host.ask(7, 0);
    let (code, table, _) = host.prove(&[], &["--requested"]);
    assert_eq!(code, Some(69), "{table}");
    assert!(
        host.answer().contains("the configuration was edited"),
        "{}",
        host.answer()
    );

    host.ask(7, host.rules());
    let (code, _, said) = host.prove(&[], &["--requested"]);
    assert_eq!((code, said.as_str()), (Some(0), ""));
    let answer = host.answer();
    assert!(
        answer.starts_with(r#"{"id":7,"#) && answer.contains("10.77.0.1:80 reached"),
        "{answer}"
    );
    assert!(!answer.contains("outbound"), "{answer}");

    // What root would be led to by whoever owns the daemon's directory.
    fs::remove_file(host.path("run/prove")).unwrap();
    symlink("/etc/shadow", host.path("run/prove")).unwrap();
    let (code, table, said) = host.prove(&[], &["--requested"]);
    assert_eq!((code, table.as_str(), said.as_str()), (Some(0), "", ""));
    assert_eq!(host.answer(), answer);
}

#[test]
fn what_may_not_be_tried_is_said_and_is_no_failure() {
    let host = Host::new();
    let (code, table, _) = host.prove(&["setpriv", "--bounding-set", "-sys_admin"], &[]);
    assert_eq!(code, Some(0), "{table}");
    assert!(
        table.contains(
            "inbound   IPv4  untried  cannot make a network namespace: Operation not permitted"
        ),
        "{table}"
    );
    assert!(table.contains("outbound  IPv4  proven"), "{table}");

    let (code, table, _) = host.prove(&["setpriv", "--bounding-set", "-all"], &[]);
    assert_eq!(code, Some(69), "{table}");
    assert!(
        table.contains("outbound  IPv4  untried  cannot ask the kernel's connection tracking"),
        "{table}"
    );

    let user = PROXY.to_string();
    let (code, table, said) = host.prove(&["setpriv", "--reuid", &user, "--clear-groups"], &[]);
    assert_eq!((code, table.as_str()), (Some(71), ""), "{said}");
    assert!(said.contains("needs root"), "{said}");
}

#[test]
fn a_host_without_ipv6_is_told_so() {
    let host = Host::new();
    for scope in ["all", "default"] {
        let setting = format!("net.ipv6.conf.{scope}.disable_ipv6=1");
        host.vm().run(&["sysctl", "-qw", &setting], "");
    }
    let config = fs::read_to_string(host.path("config")).unwrap();
    let config = config.replacen('{', r#"{"IPv6": true, "#, 1);
    fs::write(host.path("config"), config).unwrap();
    let (code, table, said) = host.prove(&[], &[]);
    assert_eq!(code, Some(0), "{table}{said}");
    for row in [
        "inbound   IPv4  proven",
        "inbound   IPv6  untried",
        "outbound  IPv4  proven",
        "outbound  IPv6  untried",
    ] {
        assert!(table.contains(row), "{row} in:\n{table}");
    }
}

#[test]
fn killed_in_the_middle_it_leaves_nothing_and_the_next_one_works() {
    let host = Host::new();
    // Nothing answers, so it waits.
    for chain in ["INPUT", "OUTPUT"] {
        host.vm().run(
            &["iptables-nft", "-A", chain, "-p", "tcp", "-j", "DROP"],
            "",
        );
    }
    let mut child = host.command(&[], &[]).spawn().unwrap();
    wait_for_link(host.vm(), &mut child);
    child.kill().unwrap();
    child.wait().unwrap();
    no_link_is_left(host.vm());
    host.vm().run(&["iptables-nft", "-F"], "");
    let (code, table, _) = host.prove(&[], &[]);
    assert_eq!(code, Some(0), "{table}");
    no_link_is_left(host.vm());
}

fn wait_for_link(vm: &Namespace, child: &mut Child) {
    let deadline = Instant::now() + Duration::from_secs(5);
    // Up, so that it is past its making.
    while !vm.run(&["ip", "-o", "addr"], "").contains("proof-") {
        assert!(child.try_wait().unwrap().is_none(), "it ended");
        assert!(Instant::now() < deadline, "it made no link");
    }
}
