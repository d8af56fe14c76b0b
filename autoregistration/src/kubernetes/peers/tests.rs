#![expect(
    clippy::needless_pass_by_value,
    reason = "what a test says in place is a value"
)]

use serde_json::{Value, json};

use super::*;

fn wanted() -> Wanted {
    Wanted {
        namespace: "linkerd-expansion".to_owned(),
        service: "peers".to_owned(),
        own: BTreeSet::from(["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()]),
        port: 9999,
    }
}

fn slice(endpoints: Value, ports: Value) -> EndpointSlice {
    serde_json::from_value(json!({
        "metadata": { "name": "a" },
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": ports,
    }))
    .unwrap()
}

fn of(endpoints: Value, ports: Value) -> Vec<(String, Answer)> {
    let slice = slice(endpoints, ports);
    let roster = roster(&[&slice], &wanted());
    let entries = roster.into_iter();
    entries
        .map(|(peer, answer)| (peer.to_string(), answer))
        .collect()
}

#[test]
fn our_own_addresses_are_left_out() {
    let endpoints = json!([
        { "addresses": ["10.0.0.1"] }, { "addresses": ["10.0.0.2"] }, { "addresses": ["fd00::1"] },
    ]);
    let ports = json!([{ "name": "peers", "port": 8082 }]);
    let only = ("10.0.0.2:8082".to_owned(), Answer::Needed);
    assert_eq!(of(endpoints, ports), [only]);
}

#[test]
fn who_is_in_service_is_needed_and_who_is_not_is_asked_all_the_same() {
    let cases = [
        (json!({}), Answer::Needed),
        (json!({ "ready": true }), Answer::Needed),
        (json!({ "ready": false }), Answer::Welcome),
        (json!({ "ready": false, "serving": false }), Answer::Welcome),
        (
            json!({ "ready": false, "serving": true, "terminating": true }),
            Answer::Needed,
        ),
        (
            json!({ "ready": false, "serving": false, "terminating": true }),
            Answer::Welcome,
        ),
    ];
    for (conditions, expected) in cases {
        let endpoints = json!([{ "addresses": ["10.0.0.2"], "conditions": conditions }]);
        let answers = of(endpoints, json!([]));
        assert_eq!(answers[0].1, expected, "{conditions}");
    }
}

#[test]
fn the_port_is_the_one_called_peers_else_the_only_one_else_ours() {
    let port = |ports| {
        of(json!([{ "addresses": ["10.0.0.2"] }]), ports)[0]
            .0
            .clone()
    };
    let both = json!([{ "name": "admin", "port": 1 }, { "name": "peers", "port": 2 }]);
    assert_eq!(port(both), "10.0.0.2:2");
    assert_eq!(port(json!([{ "name": "", "port": 3 }])), "10.0.0.2:3");
    let neither = json!([{ "name": "a", "port": 1 }, { "name": "b", "port": 2 }]);
    assert_eq!(port(neither), "10.0.0.2:9999");
    assert_eq!(port(json!(null)), "10.0.0.2:9999");
}

#[test]
fn an_endpoint_in_two_slices_is_needed_when_one_says_so() {
    let ports = json!([{ "name": "peers", "port": 8082 }]);
    let ready = slice(json!([{ "addresses": ["10.0.0.2"] }]), ports.clone());
    let conditions = json!({ "ready": false });
    let endpoints = json!([{ "addresses": ["10.0.0.2"], "conditions": conditions }]);
    let unready = slice(endpoints, ports);
    for slices in [[&ready, &unready], [&unready, &ready]] {
        let roster = roster(&slices, &wanted());
        assert_eq!(roster.into_values().collect::<Vec<_>>(), [Answer::Needed]);
    }
}

#[test]
fn names_and_nonsense_are_nobody() {
    let endpoints = json!([{ "addresses": ["a.example", "10.0.0.300"] }]);
    assert_eq!(of(endpoints, json!([])), []);
}
