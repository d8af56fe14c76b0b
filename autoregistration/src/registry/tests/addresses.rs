//! An address belongs to one workload.

use std::net::IpAddr;

use super::*;

#[test]
fn an_address_belongs_to_one_workload_until_its_vm_is_gone_for_the_grace() {
    let mut bench = Bench::new(GROUP);
    bench.open(1, &VM);
    let other = Vm {
        instance: 2,
        session: 2,
        ..VM
    };
    assert_eq!(ended(&bench.open(2, &other), 2), Some(Reason::AddressInUse));
    bench.event(Event::Closed { stream: 1 });
    let effects = bench.open(3, &other);
    let wait = effects.iter().find_map(|effect| match effect {
        Effect::End(3, Some(refusal)) => refusal.wait(),
        _ => None,
    });
    assert_eq!(wait, Some(seconds(45)));
    bench.pass(seconds(45));
    let old = bench.names();
    // The old one was ready until this moment, and is seen not ready before it goes.
    let effects = bench.open(4, &other);
    assert!(
        matches!(&effects[..], [Effect::Send(4, kind)]
            if matches!(kind.as_ref(), Kind::Pending(pending) if pending.reason == "ADDRESS_IN_USE")),
        "{effects:?}"
    );
    assert_eq!((bench.names(), bench.ready()), (old.clone(), vec![false]));
    assignment(&bench.pass(seconds(1)));
    assert_ne!(bench.names(), old);
    assert_eq!(bench.ready(), [true]);
}

#[test]
fn a_change_of_address_is_assigned_unless_another_has_it() {
    let mut bench = Bench::new(GROUP);
    bench.open(1, &VM);
    bench.open(
        2,
        &Vm {
            instance: 2,
            ip: "10.77.0.3",
            ..VM
        },
    );
    let change = |ip: &str| {
        harness_message::Kind::Addresses(v1::AddressChange {
            seq: 1,
            ips: vec![ip.into()],
        })
    };
    let effects = bench.say(1, change("10.77.0.9"));
    assert_eq!(
        assignment(&effects).workload.as_ref().unwrap().ips,
        ["10.77.0.9"]
    );
    assert_eq!(
        ended(&bench.say(1, change("10.77.0.3")), 1),
        Some(Reason::AddressInUse)
    );
    assert_eq!(
        ended(&bench.say(2, change("127.0.0.1")), 2),
        Some(Reason::InvalidHello)
    );
}

#[test]
fn an_ipv4_address_written_as_ipv6_is_the_same_address() {
    let mut bench = Bench::new(GROUP);
    bench.open(
        1,
        &Vm {
            ip: "::ffff:10.77.0.2",
            ..VM
        },
    );
    let wanted: IpAddr = "10.77.0.2".parse().unwrap();
    assert!(bench.view().member_by_ip(wanted).is_some());
    let other = Vm {
        instance: 2,
        session: 2,
        ..VM
    };
    assert_eq!(ended(&bench.open(2, &other), 2), Some(Reason::AddressInUse));
}

/// Proxies don't ask about addresses outside of the cluster networks, but dial them in plaintext.
#[test]
fn an_address_that_would_be_reached_in_plaintext_is_refused() {
    let mut bench = Bench::new(GROUP);
    let outside = Vm {
        ip: "192.0.2.1",
        ..VM
    };
    assert_eq!(
        ended(&bench.open(1, &outside), 1),
        Some(Reason::AddressNotAllowed)
    );
    assert_eq!(bench.names(), Vec::<String>::new());
    let verdict = bench.registry.check(&ID.parse().unwrap(), &outside.hello());
    assert!(
        verdict.problems[0].starts_with("ADDRESS_NOT_ALLOWED"),
        "{verdict:?}"
    );
    bench.open(2, &VM);
    let change = harness_message::Kind::Addresses(v1::AddressChange {
        seq: 1,
        ips: vec!["10.77.0.2".into(), "192.0.2.1".into()],
    });
    assert_eq!(
        ended(&bench.say(2, change), 2),
        Some(Reason::AddressNotAllowed)
    );
}

/// Another group may be another tenant's.
#[test]
fn who_has_an_address_is_said_by_name_only_within_the_group() {
    let other = GROUP
        .replace("name: training-vm", "name: other")
        .replace("namespace: training", "namespace: tenant");
    let mut bench = Bench::new(&format!("{GROUP}---{other}"));
    bench.open(1, &VM);
    let name = bench.names().remove(0);
    let vm = Vm { instance: 2, ..VM };
    let mut tenants = vm.hello();
    tenants.group.namespace = "tenant".parse().unwrap();
    tenants.group.name = "other".parse().unwrap();
    for (stream, hello, named) in [(2, vm.hello(), true), (3, tenants, false)] {
        let verdict = bench.registry.check(&ID.parse().unwrap(), &hello);
        let effects = bench.event(Event::Opened {
            stream,
            caller: ID.parse().unwrap(),
            hello: Box::new(hello),
        });
        let refusal = effects.iter().find_map(|effect| match effect {
            Effect::End(_, Some(refusal)) => Some(refusal),
            _ => None,
        });
        let refusal = refusal.unwrap();
        assert_eq!(refusal.reason(), Reason::AddressInUse);
        let notice = bench.notices.pop().unwrap();
        for said in [refusal.message(), &verdict.problems[0], &notice.message] {
            assert!(said.contains("10.77.0.2 is an address of"), "{said}");
            assert_eq!(said.contains(&name), named, "{said}");
        }
        let said = refusal.message();
        assert!(!said.contains("spiffe://"), "{said}");
        assert!(refusal.detail().contains(&name) && refusal.detail().contains(ID));
    }
}

#[test]
fn an_address_is_taken_as_long_as_any_workload_of_ours_or_of_others_has_it() {
    let mut bench = Bench::new(GROUP);
    let theirs = ("training".to_owned(), "theirs".to_owned());
    let at = |ip: &str| {
        let stored = Stored {
            uid: "theirs".into(),
            resource_version: "1".into(),
            ours: false,
            deleting: false,
            applied: String::new(),
            spec: crate::store::Spec {
                ips: vec![ip.parse().unwrap()],
                ..Default::default()
            },
            ready: None,
        };
        Event::News(News::One(theirs.clone(), Box::new(stored)))
    };
    let vm = |instance, ip| Vm { instance, ip, ..VM };
    bench.event(at("10.77.0.2"));
    assert_eq!(ended(&bench.open(1, &VM), 1), Some(Reason::AddressInUse));
    // The other one moves.
    bench.event(at("10.77.0.3"));
    assignment(&bench.open(2, &VM));
    let second = vm(2, "10.77.0.3");
    assert_eq!(
        ended(&bench.open(3, &second), 3),
        Some(Reason::AddressInUse)
    );
    bench.event(Event::News(News::Gone(theirs.clone())));
    assignment(&bench.open(4, &second));
    // It comes to an address that we have, and goes: we still have it.
    bench.event(at("10.77.0.2"));
    bench.event(Event::News(News::Gone(theirs.clone())));
    let third = vm(3, "10.77.0.2");
    assert_eq!(ended(&bench.open(5, &third), 5), Some(Reason::AddressInUse));
    // Ours goes, and theirs is still there.
    bench.event(at("10.77.0.3"));
    bench.leave(4, Mode::Remove);
    bench.pass(seconds(5));
    let fourth = vm(4, "10.77.0.3");
    assert_eq!(
        ended(&bench.open(6, &fourth), 6),
        Some(Reason::AddressInUse)
    );
}
