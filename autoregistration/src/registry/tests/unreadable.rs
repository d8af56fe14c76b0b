//! A group that nobody can read any more, while its VMs come and go.

use super::*;
use crate::store::Status;

/// One whose VM has hung up, and whose group nobody can read.
fn orphaned() -> Bench {
    let mut bench = Bench::of_several(GROUP);
    bench.open(1, &VM);
    let free = Claimed::Free;
    let effects = bench.event(Event::Claimed {
        stream: 1,
        claimed: free,
    });
    assignment(&effects);
    bench.event(Event::Closed { stream: 1 });
    let group = ("training".to_owned(), "training-vm".to_owned());
    let unreadable = Manifests {
        unreadable: [group].into(),
        ..Manifests::default()
    };
    bench.event(Event::Manifests(Arc::new(unreadable)));
    bench
}

fn there(bench: &Bench) -> Stored {
    let (_, workload) = bench.registry.workloads.iter().next().unwrap();
    Stored::clone(workload.there.as_ref().unwrap())
}

fn pending(effects: &[Effect]) -> Option<&str> {
    effects.iter().find_map(|effect| match effect {
        Effect::Send(_, kind) => match kind.as_ref() {
            Kind::Pending(pending) => Some(pending.message.as_str()),
            _ => None,
        },
        _ => None,
    })
}

#[test]
fn a_vm_whose_group_cannot_be_read_goes_on_as_it_was_and_its_health_counts() {
    let mut bench = orphaned();
    let before = there(&bench);
    let name = bench.names();
    let sick = Vm {
        session: 2,
        state: State::Unhealthy,
        ..VM
    };
    bench.open(2, &sick);
    let effects = bench.event(Event::Claimed {
        stream: 2,
        claimed: Claimed::Free,
    });
    assert!(
        pending(&effects).is_some_and(|message| message.contains("cannot be used as it is")),
        "{effects:?}"
    );
    let after = there(&bench);
    assert_eq!(after.readiness().status, Status::False);
    assert_eq!((&after.spec, &after.uid), (&before.spec, &before.uid));
    let effects = bench.report(2, 2, State::Unhealthy, &before.uid);
    assert_eq!(ack(&effects), Outcome::Persisted);

    // Mended, with another label.
    let mended = GROUP.replace("training-app", "mended");
    let effects = bench.event(Event::Manifests(manifests(&mended)));
    let told = assignment(&effects).workload.as_ref().unwrap();
    assert_eq!((vec![told.name.clone()], &told.uid), (name, &before.uid));
    assert_eq!(there(&bench).spec.labels["app"], "mended");
}

#[test]
fn one_that_is_reached_in_another_way_waits_and_is_not_lost() {
    let mut bench = orphaned();
    let moved = Vm {
        session: 2,
        ip: "10.77.0.9",
        ..VM
    };
    let effects = bench.open(2, &moved);
    assert!(pending(&effects).is_some(), "{effects:?}");
    let nobody = || {
        Event::Census(Census {
            complete: true,
            ..Census::default()
        })
    };
    bench.event(Event::Leading(true));
    for _ in 0..8 {
        bench.pass(seconds(10));
        bench.event(nobody());
    }
    assert_eq!(there(&bench).readiness().status, Status::True);
    bench.event(Event::Closed { stream: 2 });
    bench.pass(seconds(50));
    bench.event(nobody());
    assert_eq!(there(&bench).readiness().status, Status::Unknown);
}
