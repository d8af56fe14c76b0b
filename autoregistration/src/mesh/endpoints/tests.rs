use std::sync::Arc;

use super::*;
use crate::mesh::follow::{Follow, Step};
use crate::mesh::testing::{MEMBER_IP, add_member, member_of, mesh, service_of};

const PATH: &str = "training-vm.training.svc.cluster.local:80";

fn stream(path: &str) -> Follow<Endpoints> {
    Follow::new(Endpoints(Target::parse(path)))
}

fn said(stream: &mut Follow<Endpoints>, view: &View) -> Vec<update::Update> {
    match stream.see(&Arc::new(view.clone())) {
        Step::Say(messages) => messages.into_iter().map(|m| m.update.unwrap()).collect(),
        Step::Refuse(why) => panic!("refused: {why}"),
    }
}

fn none(exists: bool) -> Vec<update::Update> {
    vec![update::Update::NoEndpoints(NoEndpoints { exists })]
}

/// `+` for an endpoint of an `Add`, `-` for one of a `Remove`, in order.
fn outline(updates: &[update::Update]) -> Vec<String> {
    let text = |sign: char, addr: linkerd2_proxy_api::net::TcpAddress| {
        format!("{sign}{}", SocketAddr::try_from(addr).unwrap())
    };
    let line = |update: &update::Update| match update.clone() {
        update::Update::Add(set) => set
            .addrs
            .into_iter()
            .map(|e| text('+', e.addr.unwrap()))
            .collect(),
        update::Update::Remove(set) => set.addrs.into_iter().map(|a| text('-', a)).collect(),
        update::Update::NoEndpoints(none) => vec![format!("none {}", none.exists)],
    };
    updates
        .iter()
        .flat_map(|u| -> Vec<String> { line(u) })
        .collect()
}

#[test]
fn the_first_message_is_the_whole_set_with_the_labels_of_the_service() {
    let mut view = mesh();
    add_member(&mut view, "vm-b", "10.77.0.3");
    let updates = said(&mut stream(PATH), &view);
    assert_eq!(outline(&updates), ["+10.77.0.2:80", "+10.77.0.3:80"]);
    let update::Update::Add(set) = &updates[0] else {
        panic!("{updates:?}")
    };
    assert_eq!(set.metric_labels["service"], "training-vm");
    assert_eq!(set.metric_labels["namespace"], "training");
}

#[test]
fn changes_travel_as_differences() {
    let mut view = mesh();
    let mut stream = stream(PATH);
    said(&mut stream, &view);
    add_member(&mut view, "vm-b", "10.77.0.3");
    assert_eq!(outline(&said(&mut stream, &view)), ["+10.77.0.3:80"]);
    member_of(&mut view).identity.push('x');
    assert_eq!(outline(&said(&mut stream, &view)), ["+10.77.0.2:80"]);
    member_of(&mut view).ips = vec!["10.77.0.4".parse().unwrap()];
    assert_eq!(
        outline(&said(&mut stream, &view)),
        ["+10.77.0.4:80", "-10.77.0.2:80"]
    );
    assert_eq!(said(&mut stream, &view), []);
}

#[test]
fn only_ready_members_with_an_identity_are_endpoints() {
    let breaks: [fn(&mut Member); 5] = [
        |m| m.ready = false,
        |m| m.identity.clear(),
        |m| m.labels.clear(),
        |m| m.ports.clear(),
        |m| m.ips.clear(),
    ];
    for (case, breaks) in breaks.iter().enumerate() {
        let mut view = mesh();
        breaks(member_of(&mut view));
        assert_eq!(said(&mut stream(PATH), &view), none(true), "case {case}");
    }
}

#[test]
fn what_is_not_a_service_does_not_exist() {
    let view = mesh();
    for path in [
        "training-vm.training.svc.cluster.local:81",
        "other.training.svc.cluster.local:80",
        "example.com:80",
        "10.96.0.10:80",
        "10.77.0.2:80",
        "nonsense",
    ] {
        assert_eq!(said(&mut stream(path), &view), none(false), "{path}");
    }
}

#[test]
fn an_empty_set_is_not_said_before_the_state_is_restored() {
    let mut view = mesh();
    view.restored = false;
    view.members.clear();
    let mut stream = stream(PATH);
    assert_eq!(said(&mut stream, &view), []);
    add_member(&mut view, "vm-b", "10.77.0.3");
    assert_eq!(outline(&said(&mut stream, &view)), ["+10.77.0.3:80"]);
    // What it knows to be gone it says, restored or not.
    view.members.clear();
    assert_eq!(said(&mut stream, &view), none(true));
    view.restored = true;
    assert_eq!(said(&mut stream, &view), []);
}

#[test]
fn a_service_that_vanishes_takes_its_endpoints_along() {
    let mut view = mesh();
    let mut stream = stream(PATH);
    said(&mut stream, &view);
    let services = std::mem::take(&mut view.services);
    assert_eq!(said(&mut stream, &view), none(false));
    view.services = services;
    assert_eq!(outline(&said(&mut stream, &view)), ["+10.77.0.2:80"]);
}

#[test]
fn a_member_of_two_families_is_one_endpoint_in_the_services_family() {
    let mut view = mesh();
    let six: IpAddr = "fd00::2".parse().unwrap();
    member_of(&mut view).ips = vec![six, MEMBER_IP.parse().unwrap()];
    assert_eq!(outline(&said(&mut stream(PATH), &view)), ["+10.77.0.2:80"]);
    assert!(service_of(&view).cluster_ips[0].is_ipv4());
    member_of(&mut view).ips = vec![six];
    assert_eq!(outline(&said(&mut stream(PATH), &view)), ["+[fd00::2]:80"]);
}
