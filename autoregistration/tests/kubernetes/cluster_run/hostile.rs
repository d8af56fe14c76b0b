//! Nonsense, strangers and floods: each is refused with its reason, nothing is written, and nobody else notices.

use linkerd_harness_api::v1::health_report::State;
use linkerd_harness_api::v1::{self, harness_message};

use super::mesh::address;
use super::replica::Plan;
use super::{Mesh, Vm};

/// What is said instead of something sensible.
type Nonsense = fn(&mut v1::Hello);

#[tokio::test]
async fn who_says_nonsense_or_is_nobody_is_refused_and_nobody_else_notices() {
    let mesh = Mesh::start().await;
    let replica = Plan::new(&mesh, 1).start().await;
    let addr = replica.registration();
    let (mut session, workload) = Vm::new(1).join_well(addr).await;
    let before = mesh.versions().await;

    let nonsense: [Nonsense; 14] = [
        |hello| hello.group = None,
        |hello| hello.group.as_mut().unwrap().name = "a/../b".to_owned(),
        |hello| hello.group.as_mut().unwrap().namespace = "kube system\n".to_owned(),
        |hello| hello.instance_id = vec![1; 31],
        |hello| hello.instance_id = vec![1; 4096],
        |hello| hello.session_id = Vec::new(),
        |hello| hello.session_id = vec![1; 65],
        |hello| hello.ips = Vec::new(),
        |hello| hello.ips = vec!["127.0.0.1".to_owned()],
        |hello| hello.ips = vec!["10.0.0.1; DROP".to_owned()],
        |hello| hello.ips = (0..9).map(|n| format!("10.0.1.{n}")).collect(),
        |hello| hello.proxy_inbound_port = 70_000,
        |hello| hello.zone = "a b".to_owned(),
        |hello| hello.boot_id = vec![0; 20_000],
    ];
    for (number, wrong) in (100..).zip(nonsense) {
        // Each is another machine, since of one few are heard.
        let mut vm = Vm::new(number);
        wrong(&mut vm.hello);
        assert_eq!(vm.is_refused(addr).await, "INVALID_HELLO", "{number}");
    }
    let mut large = Vm::new(2);
    large.hello.boot_id = vec![0; 100_000];
    assert_eq!(large.is_refused(addr).await, "INVALID_MESSAGE");

    for (identity, reason) in [
        ("", "NOT_SPIFFE"),
        ("vm-1.example", "NOT_SPIFFE"),
        ("spiffe://Root.linkerd.cluster.local/vms/2", "NOT_SPIFFE"),
        ("spiffe://another.domain/vms/2", "WRONG_TRUST_DOMAIN"),
    ] {
        let mut vm = Vm::new(2);
        vm.identity = identity.to_owned();
        assert_eq!(vm.is_refused(addr).await, reason, "{identity:?}");
    }

    let mut talks = Vm::new(3);
    let (mut second, _) = talks.join(addr).await;
    let hello = harness_message::Kind::Hello(talks.hello.clone());
    assert!(second.tries_to_say(hello).await);
    assert_eq!(second.end().await.as_deref(), Some("INVALID_HELLO"));
    let mut floods = Vm::new(4);
    let (mut flood, told) = floods.join(addr).await;
    for _ in 0..2000 {
        // To which nothing is answered, so that there is room for the reason.
        let kind = harness_message::Kind::ConfigAck(v1::ConfigAck::default());
        if !flood.tries_to_say(kind).await {
            break;
        }
    }
    assert_eq!(flood.end().await.as_deref(), Some("RATE_LIMITED"));

    assert!(session.heard_nothing());
    let after = mesh.versions().await;
    assert_eq!(after[&workload], before[&workload]);
    // What a flood was about is as it was; it is one workload among others.
    assert!(after.contains_key(&super::vm::name(&told)));
    assert_eq!(after.len(), 3);
    session.reports(State::Unhealthy).await;
    mesh.is_ready(&workload, "False").await;
}

/// Anybody can send the header; it is the pod's own proxy that puts the truth into it.
#[tokio::test]
async fn the_header_of_a_connection_from_outside_the_pod_is_not_believed() {
    let mesh = Mesh::start().await;
    let mut plan = Plan::new(&mesh, 1);
    plan.args.registration_listen.set_ip(address());
    let replica = plan.start().await;
    let addr = replica.registration();
    assert_eq!(addr.ip(), address());
    let mut vm = Vm::new(1);
    assert_eq!(vm.is_refused(addr).await, "NO_CLIENT_IDENTITY");
    assert!(mesh.all().await.is_empty());

    let mut plan = Plan::new(&mesh, 2);
    plan.args.registration_listen.set_ip(address());
    plan.args.cluster.pod_ips.push(address());
    let within = plan.start().await;
    let (_session, told) = vm.join(within.registration()).await;
    assert_eq!(mesh.all().await.len(), 1);
    assert!(mesh.all().await.contains_key(&super::vm::name(&told)));
}
