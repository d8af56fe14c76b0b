//! How a VM becomes a workload, and what it is told.

use super::*;

#[test]
fn a_vm_gets_an_assignment_with_everything_in_it() {
    let mut bench = Bench::new(GROUP);
    let effects = bench.open(1, &VM);
    let assignment = assignment(&effects);
    let workload = assignment.workload.as_ref().unwrap();
    assert!(workload.name.starts_with("training-vm-"));
    assert_eq!(workload.name.len(), "training-vm-".len() + 10);
    assert_eq!(
        workload.server_name,
        format!(
            "{}.training.external.identity.linkerd.cluster.local",
            workload.name
        )
    );
    assert_eq!(workload.identity, ID);
    let proxy = assignment.proxy.as_ref().unwrap();
    let destination = proxy.destination.as_ref().unwrap();
    assert_eq!(
        destination.addr,
        "linkerd-dst-headless.linkerd.svc.cluster.local.:8086"
    );
    let policy = proxy.policy.as_ref().unwrap();
    assert_eq!(
        policy.addr,
        "linkerd-policy.linkerd.svc.cluster.local.:8090"
    );
    assert_eq!(
        policy.identity,
        "linkerd-destination.linkerd.serviceaccount.identity.linkerd.cluster.local"
    );
    assert_eq!(proxy.trust_anchors_pem, "ANCHORS");
    assert_eq!(proxy.opaque_ports, "25,587,3306,4444,5432,6379,9300,11211");
    let probe = &assignment.probes[0];
    assert_eq!((probe.period_seconds, probe.failure_threshold), (10, 3));
    assert_eq!(bench.names(), [workload.name.as_str()]);
    assert_eq!(bench.ready(), [true]);
    assert!(effects.contains(&Effect::Count("ASSIGNED")));
}

#[test]
fn nobody_is_called_unknown_before_the_restore_window_has_passed() {
    let mut bench = Bench::new(GROUP);
    bench.pass(seconds(9));
    assert!(!bench.view().restored);
    bench.pass(seconds(1));
    assert!(bench.view().restored);
}

#[test]
fn a_restarted_controller_gives_the_same_name_uid_and_hash() {
    let first = assignment(&Bench::new(GROUP).open(1, &VM)).clone();
    let again = assignment(&Bench::new(GROUP).open(9, &Vm { session: 7, ..VM })).clone();
    assert_eq!(first, again);
}

#[test]
fn a_vm_waits_for_its_group_when_it_can_and_is_refused_when_it_cannot() {
    let mut bench = Bench::new("");
    let effects = bench.open(1, &VM);
    assert!(
        matches!(&effects[..], [Effect::Count("PENDING"), Effect::Send(1, kind)]
            if matches!(kind.as_ref(), Kind::Pending(pending) if pending.reason == "GROUP_NOT_FOUND")),
        "{effects:?}"
    );
    let effects = bench.open(
        2,
        &Vm {
            instance: 2,
            can_wait: false,
            ..VM
        },
    );
    assert_eq!(ended(&effects, 2), Some(Reason::GroupNotFound));
    let effects = bench.report(1, 2, State::Unhealthy, "");
    assert_eq!(ack(&effects), Outcome::Queued);
    let effects = bench.event(Event::Manifests(manifests(GROUP)));
    assignment(&effects);
    assert_eq!(bench.ready(), [false], "the newest health counts");
}

#[test]
fn a_vm_of_a_namespace_that_is_not_looked_at_is_told_which_are() {
    let only = |names: &[&str]| {
        let watched = names.iter().map(|name| (*name).to_owned()).collect();
        Arc::new(Manifests {
            watched,
            ..Manifests::default()
        })
    };
    let mut bench = Bench::new("");
    let said = |bench: &Bench| {
        let verdict = bench.registry.check(&ID.parse().unwrap(), &VM.hello());
        verdict.problems.into_iter().next().unwrap()
    };
    bench.event(Event::Manifests(only(&["training"])));
    assert!(said(&bench).contains("no ExternalGroup `training-vm` in namespace `training`"));
    bench.event(Event::Manifests(only(&["a", "b"])));
    let words = said(&bench);
    assert!(words.starts_with("GROUP_NOT_FOUND"), "{words}");
    assert!(
        words.contains("only at the namespaces `a`, `b`:"),
        "{words}"
    );
    assert!(
        words.contains("add `training` to watchNamespaces"),
        "{words}"
    );
    let many = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];
    bench.event(Event::Manifests(only(&many)));
    assert!(said(&bench).contains("`j` and 2 more:"), "{}", said(&bench));
}

#[test]
fn a_shutdown_tells_everybody_to_come_again() {
    let mut bench = Bench::new(GROUP);
    bench.open(1, &VM);
    let effects = bench.event(Event::Shutdown);
    let told = matches!(&effects[0], Effect::Send(1, kind)
        if matches!(kind.as_ref(), Kind::GoAway(away) if away.reconnect));
    assert!(told, "{effects:?}");
    assert_eq!(ended(&effects, 1), Some(Reason::Draining));
    assert_eq!(bench.ready(), [true]);
}

#[test]
fn a_check_names_the_workload_and_the_obstacles_and_changes_nothing() {
    let mut bench = Bench::new(GROUP);
    bench.open(1, &VM);
    let view = bench.view();
    let caller = ID.parse().unwrap();
    let ask = |bench: &Bench, instance: u8, group: &str| {
        let wire = v1::Hello {
            group: Some(v1::GroupRef {
                namespace: "training".into(),
                name: group.into(),
            }),
            instance_id: vec![instance; 32],
            session_id: vec![9],
            ips: vec!["10.77.0.2".into()],
            ..v1::Hello::default()
        };
        bench.registry.check(&caller, &hello::check(wire).unwrap())
    };
    let same = ask(&bench, 1, "training-vm");
    assert_eq!(
        (same.workload_name, same.problems),
        (bench.names()[0].clone(), vec![])
    );
    let other = ask(&bench, 2, "training-vm");
    assert!(other.problems[0].starts_with("ADDRESS_IN_USE"), "{other:?}");
    assert!(ask(&bench, 1, "none").problems[0].starts_with("GROUP_NOT_FOUND"));
    assert_eq!(bench.view(), view);
}

#[test]
fn a_vm_that_proxies_could_not_verify_is_refused_and_says_why() {
    // The last label of a server name must not be a number, nor the whole longer than a DNS name.
    for domain in ["cluster.1".to_owned(), "long-domain.".repeat(16) + "local"] {
        let flags = Flags {
            identity_trust_domain: domain,
            ..flags()
        };
        let mut bench = Bench::with(rules(), flags, Replicas::One, GROUP);
        let effects = bench.open(1, &VM);
        assert_eq!(ended(&effects, 1), Some(Reason::UnusableIdentity));
        assert_eq!(bench.names(), Vec::<String>::new());
        let verdict = bench.registry.check(&ID.parse().unwrap(), &VM.hello());
        assert!(
            verdict.problems[0].starts_with("UNUSABLE_IDENTITY"),
            "{verdict:?}"
        );
    }
}
