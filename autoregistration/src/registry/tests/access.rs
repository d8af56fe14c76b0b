//! A group says who may join.

use super::*;

fn group(access: &str) -> String {
    format!("{GROUP}  access: {access}\n")
}

fn refused(access: &str) -> Option<Reason> {
    let mut bench = Bench::new(&group(access));
    ended(&bench.open(1, &VM), 1)
}

#[test]
fn only_those_join_whose_identity_and_addresses_the_group_allows() {
    let allowed = "spiffe://root.linkerd.cluster.local";
    for (access, expected) in [
        (format!("{{identities: ['{ID}']}}"), None),
        (format!("{{identities: ['{allowed}/*']}}"), None),
        (
            format!("{{identities: ['{allowed}/other', '{allowed}/proxy-harness/*']}}"),
            Some(Reason::IdentityNotAllowed),
        ),
        (
            "{identities: []}".to_owned(),
            Some(Reason::IdentityNotAllowed),
        ),
        ("{networks: [10.77.0.0/24]}".to_owned(), None),
        (
            "{networks: [10.78.0.0/24, 'fd00::/8']}".to_owned(),
            Some(Reason::AddressNotAllowed),
        ),
        ("{maxWorkloads: 1}".to_owned(), None),
        ("{maxWorkloads: 0}".to_owned(), Some(Reason::GroupFull)),
        ("{allowedLabels: [zone]}".to_owned(), None),
    ] {
        assert_eq!(refused(&access), expected, "{access}");
    }
}

#[test]
fn a_full_group_keeps_the_places_of_those_that_are_in() {
    let mut bench = Bench::new(&group("{maxWorkloads: 1}"));
    bench.open(1, &VM);
    let other = Vm {
        instance: 2,
        ip: "10.77.0.3",
        ..VM
    };
    assert_eq!(ended(&bench.open(2, &other), 2), Some(Reason::GroupFull));
    bench.event(Event::Closed { stream: 1 });
    let again = Vm { session: 9, ..VM };
    assert_eq!(ended(&bench.open(3, &again), 3), None);
    assert_eq!(bench.names().len(), 1);
}

#[test]
fn a_vm_does_not_move_to_an_address_that_its_group_does_not_allow() {
    let mut bench = Bench::new(&group("{networks: [10.77.0.0/24]}"));
    bench.open(1, &VM);
    let change = |ip: &str| {
        harness_message::Kind::Addresses(v1::AddressChange {
            seq: 1,
            ips: vec![ip.into()],
        })
    };
    assert_eq!(ended(&bench.say(1, change("10.77.0.9")), 1), None);
    assert_eq!(
        ended(&bench.say(1, change("10.78.0.9")), 1),
        Some(Reason::AddressNotAllowed)
    );
}

#[test]
fn a_dry_run_says_that_the_group_does_not_let_the_vm_in() {
    let bench = Bench::new(&group("{identities: []}"));
    let verdict = bench.registry.check(&ID.parse().unwrap(), &VM.hello());
    assert!(
        verdict.problems[0].starts_with("IDENTITY_NOT_ALLOWED"),
        "{verdict:?}"
    );
}

#[test]
fn members_keep_their_places_when_fewer_are_allowed() {
    let mut bench = Bench::new(&group("{maxWorkloads: 2}"));
    let other = Vm {
        instance: 2,
        ip: "10.77.0.3",
        ..VM
    };
    bench.open(1, &VM);
    bench.open(2, &other);
    bench.event(Event::Manifests(manifests(&group("{maxWorkloads: 1}"))));
    assert_eq!(bench.names().len(), 2, "a maximum throws nobody out");
    // All come again, as after a restart of ours.
    for (stream, vm) in [(3, &VM), (4, &other)] {
        bench.event(Event::Closed { stream: stream - 2 });
        let again = Vm {
            session: 9,
            ..vm.clone()
        };
        assert_eq!(ended(&bench.open(stream, &again), stream), None);
    }
}

#[test]
fn a_member_that_is_not_let_in_any_more_is_taken_out() {
    let mut bench = Bench::new(GROUP);
    bench.open(1, &VM);
    let closed = manifests(&group("{identities: []}"));
    let effects = bench.event(Event::Manifests(closed));
    assert_eq!(ended(&effects, 1), Some(Reason::IdentityNotAllowed));
    assert_eq!(bench.ready(), [false]);
    bench.pass(seconds(1));
    assert_eq!(bench.names(), Vec::<String>::new());
}

#[test]
fn an_unreadable_group_takes_nobody_out() {
    let mut bench = Bench::new(GROUP);
    bench.open(1, &VM);
    let unreadable = Manifests {
        unreadable: [("training".to_owned(), "training-vm".to_owned())].into(),
        ..Manifests::default()
    };
    bench.event(Event::Manifests(Arc::new(unreadable)));
    bench.pass(seconds(5));
    assert_eq!(bench.ready(), [true]);
}

#[test]
fn sessions_that_only_wait_are_not_kept_without_bound() {
    let mut bench = Bench::new("");
    let mut ends = 0;
    for stream in 0..2100_u64 {
        let vm = Vm {
            instance: u8::try_from(stream % 250).unwrap(),
            ..VM
        };
        ends += usize::from(ended(&bench.open(stream, &vm), stream).is_some());
    }
    assert_eq!(ends, 100);
}
