use linkerd_harness_core::redirect::Family;
use linkerd_harness_core::redirect::proof::{Direction, Outcome};
use linkerd_harness_core::status::{Probe, Proof, Shown, State, Status};

use crate::support::{Host, host_with_daemon, mk_status, nobody, ok};

#[test]
fn one_screen_shows_each_part_with_state_reason_and_since() {
    let status = mk_status(
        State::Waiting,
        "GroupNotFound",
        "no ExternalGroup training/training-vm\u{1b}[2J",
    );
    let shown = host_with_daemon(vec![ok(&status)]).run(&["status"]);
    let expected = "\
linkerd-proxy-harness 1.2.3, group training/training-vm: not meshed

identity      ok        Fine           since 2026-11-23T08:00:00Z  spiffe://root.linkerd.cluster.local/proxy-harness
registration  waiting   GroupNotFound  since 2026-11-23T08:00:00Z  no ExternalGroup training/training-vm [2J
proxy         ok        Fine           since 2026-11-23T08:00:00Z
redirection   ok        Fine           since 2026-11-23T08:00:00Z
health        ok        Fine           since 2026-11-23T08:00:00Z
";
    assert_eq!(
        (shown.code, shown.stdout.as_str(), shown.stderr.as_str()),
        (0, expected, "")
    );
}

#[test]
fn each_probe_has_a_line_of_its_own() {
    let mut status = mk_status(State::Ok, "Registered", "");
    let probe = |state, message: &str| Probe {
        state,
        message: message.to_owned(),
    };
    status.probes = vec![
        probe(State::Ok, "connect to 127.0.0.1:5432: connected"),
        probe(
            State::Failed,
            "run `/bin/check`: exit status: 1: no\u{1b}[2J",
        ),
    ];
    let told = host_with_daemon(vec![ok(&status)]).run(&["status"]);
    let expected = "
probe 1/2     ok        connect to 127.0.0.1:5432: connected
probe 2/2     failed    run `/bin/check`: exit status: 1: no [2J
";
    assert!(told.stdout.ends_with(expected), "{}", told.stdout);
}

#[test]
fn the_last_proof_has_a_line_of_its_own() {
    let mut status = mk_status(State::Ok, "Registered", "");
    let shown = |outcome| Shown {
        direction: Direction::Outbound,
        family: Family::V4,
        outcome,
        message: "went \u{1b}elsewhere".to_owned(),
    };
    for (outcome, line) in [
        (
            Outcome::Proven,
            "proof         proven    at 2026-11-23T08:00:00Z  outbound IPv4",
        ),
        (
            Outcome::Failed,
            "proof         failed    at 2026-11-23T08:00:00Z  outbound IPv4 (went  elsewhere)",
        ),
    ] {
        status.proof = Some(Proof {
            at: "2026-11-23T08:00:00Z".to_owned(),
            results: vec![shown(outcome)],
        });
        let told = host_with_daemon(vec![ok(&status)]).run(&["status"]);
        assert_eq!(told.stdout.lines().last(), Some(line));
    }
}

#[test]
fn json_is_what_the_daemon_said() {
    let status = mk_status(State::Ok, "Registered", "");
    let shown = host_with_daemon(vec![ok(&status)]).run(&["status", "--output", "json"]);
    assert_eq!(shown.code, 0);
    assert_eq!(
        serde_json::from_str::<Status>(&shown.stdout).unwrap(),
        status
    );
}

#[test]
fn a_daemon_that_is_down_is_said_to_be_with_how_to_start_it() {
    let host = Host::configured();
    let address = nobody();
    assert_eq!(
        host.run(&["set-config", &format!("--admin-address={address}")])
            .code,
        0
    );
    let shown = host.run(&["status"]);
    assert_eq!((shown.code, shown.stdout.as_str()), (69, ""));
    let expected =
        format!("error: linkerd-proxy-harness is not running: nothing listens on {address}\n");
    assert!(shown.stderr.starts_with(&expected), "{}", shown.stderr);
    assert!(
        shown
            .stderr
            .contains("systemctl start linkerd-proxy-harness"),
        "{}",
        shown.stderr
    );
}

#[test]
fn another_program_on_the_port_is_not_taken_for_the_daemon() {
    for answer in [
        "HTTP/1.1 404 Not Found\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\n{}",
        "SSH-2.0-x\r\n",
        "",
    ] {
        let shown = host_with_daemon(vec![answer.to_owned()]).run(&["status"]);
        assert_eq!((shown.code, shown.stdout.as_str()), (69, ""));
        assert!(
            shown.stderr.contains("is not linkerd-proxy-harness: it "),
            "{}",
            shown.stderr
        );
    }
}

#[test]
fn before_it_is_set_up_the_way_to_set_it_up_is_told() {
    let shown = Host::empty().run(&["status"]);
    assert_eq!((shown.code, shown.stdout.as_str()), (69, ""));
    assert!(
        shown.stderr.contains("sudo harnessctl set-config"),
        "{}",
        shown.stderr
    );
}
