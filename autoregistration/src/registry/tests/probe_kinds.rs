//! A VM whose harness does not know a kind of probe is never ready for want of that probe.

use super::*;
use crate::registry::probe_kinds::ProbeKinds;

const PROBES: &str = "probes: [{ httpGet: { path: /ready, port: 80 } }]";
const ALL: &str = "probes: [{ httpGet: { path: /ready, port: 80 } }, { tcpSocket: { port: 80 } }, \
                   { grpc: { port: 80 } }, { exec: { command: [/bin/true] } }]";

/// The assignment of a VM that announces these.
fn told(capabilities: &[&str]) -> v1::Assignment {
    let words = capabilities.iter().map(|word| (*word).to_owned());
    let mut hello = VM.hello();
    hello.probe_kinds = ProbeKinds::announced(&words.collect::<Vec<_>>());
    let mut bench = Bench::new(&GROUP.replace(PROBES, ALL));
    let effects = bench.event(Event::Opened {
        stream: 1,
        caller: ID.parse().unwrap(),
        hello: Box::new(hello),
    });
    assignment(&effects).clone()
}

#[test]
fn a_harness_gets_the_kinds_that_it_announced() {
    let wanted = manifests(&GROUP.replace(PROBES, ALL));
    let group = wanted.groups.values().next().unwrap();
    assert_eq!(group.probes.len(), 4);
    let told = told(&["pending", "probe-tcp", "probe-grpc", "probe-exec"]);
    assert_eq!(told.probes, group.probes);
}

#[test]
fn in_place_of_a_kind_that_it_does_not_know_it_gets_a_probe_that_cannot_pass_and_says_why() {
    let told = told(&["probe-grpc"]);
    let kinds = told.probes.iter().map(|probe| {
        assert!(probe.tcp_socket.is_none() && probe.exec.is_none());
        let get = probe.http_get.as_ref();
        get.map(|get| (get.host.as_str(), get.path.as_str()))
    });
    let path = "/this-group-has-exec-probes-which-need-a-newer-linkerd-proxy-harness";
    assert_eq!(
        kinds.collect::<Vec<_>>(),
        [
            Some(("127.0.0.1", "/ready")),
            Some((
                "255.255.255.255",
                "/this-group-has-tcpSocket-probes-which-need-a-newer-linkerd-proxy-harness"
            )),
            None,
            Some(("255.255.255.255", path)),
        ]
    );
    assert_eq!(told.probes[1].failure_threshold, 1);
}

#[test]
fn an_old_harness_keeps_its_session_when_its_group_gets_such_a_probe() {
    let mut bench = Bench::new(GROUP);
    bench.open(1, &VM);
    let effects = bench.event(Event::Manifests(manifests(&GROUP.replace(PROBES, ALL))));
    assert_eq!(assignment(&effects).probes.len(), 4);
    assert!(assignment(&effects).probes[1].tcp_socket.is_none());
    assert_eq!(bench.names().len(), 1);
}
