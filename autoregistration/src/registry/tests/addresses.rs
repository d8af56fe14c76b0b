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
