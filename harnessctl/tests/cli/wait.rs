use linkerd_harness_core::status::State;

use crate::support::{Host, host_with_daemon, mk_status, nobody, ok};

#[test]
fn it_ends_when_the_machine_is_meshed() {
    let waiting = mk_status(State::Waiting, "GroupNotFound", "no ExternalGroup");
    let meshed = mk_status(State::Ok, "Registered", "");
    let host = host_with_daemon(vec![String::new(), ok(&waiting), ok(&meshed)]);
    let waited = host.run(&["wait", "--for=meshed", "--timeout=60s"]);
    assert_eq!(
        (waited.code, waited.stdout.as_str(), waited.stderr.as_str()),
        (0, "", "")
    );
}

#[test]
fn when_the_time_is_over_it_says_what_it_waited_for() {
    let waiting = mk_status(State::Waiting, "GroupNotFound", "no ExternalGroup");
    let waited = host_with_daemon(vec![ok(&waiting)]).run(&["wait", "--timeout=300ms"]);
    assert_eq!((waited.code, waited.stdout.as_str()), (1, ""));
    let expected = "error: not meshed after 300ms: registration: GroupNotFound: no ExternalGroup\n";
    assert!(waited.stderr.starts_with(expected), "{}", waited.stderr);
}

#[test]
fn a_daemon_that_never_comes_is_waited_for_and_named() {
    let host = Host::configured();
    let flag = format!("--admin-address={}", nobody());
    assert_eq!(host.run(&["set-config", &flag]).code, 0);
    let waited = host.run(&["wait", "--timeout=0"]);
    assert_eq!(waited.code, 1);
    assert!(
        waited
            .stderr
            .contains("not meshed: linkerd-proxy-harness is not running"),
        "{}",
        waited.stderr
    );
}

#[test]
fn what_cannot_be_waited_for_is_a_wrong_command_line() {
    let host = Host::empty();
    for arguments in [["wait", "--for=mashed"], ["wait", "--timeout=soon"]] {
        let waited = host.run(&arguments);
        assert_eq!(
            (waited.code, waited.stdout.as_str()),
            (64, ""),
            "{}",
            waited.stderr
        );
    }
}
