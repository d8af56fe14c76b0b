//! From anything to anything else.

use proptest::prelude::*;

use super::super::super::workload::tests::specs;
use super::*;

fn readiness() -> impl Strategy<Value = Ready> {
    prop_oneof![
        Just(healthy()),
        Just(ready(Status::True, "ProxyReady")),
        Just(Ready::starting()),
        Just(ready(Status::False, "ProbeFailed")),
        Just(reconfiguring()),
        Just(ready(Status::Unknown, "HarnessUnreachable")),
    ]
}

fn desires() -> impl Strategy<Value = Desired> {
    let uid = prop_oneof![Just("uid-1".to_owned()), Just("uid-0".to_owned())];
    prop_oneof![
        (specs(), readiness()).prop_map(|(spec, ready)| present(&spec, ready)),
        (uid.clone(), readiness()).prop_map(|(uid, ready)| Desired::Marked { uid, ready }),
        (prop::option::of(uid), readiness()).prop_map(|(uid, ready)| Desired::Gone { uid, ready }),
    ]
}

prop_compose! {
    fn states()(
        spec in specs(),
        ready in prop::option::of(readiness()),
        ours in prop::bool::weighted(0.8),
        deleting in prop::bool::weighted(0.1),
        applied in any::<bool>(),
    ) -> Stored {
        let mut stored = stored(&spec, ready);
        stored.ours = ours;
        stored.deleting = deleting;
        if !applied {
            stored.applied.clear();
        }
        stored
    }
}

/// The API server, as far as it matters, and what must never be done there.
fn carry_out(write: Write, there: Option<Stored>, seen: Seen) -> Option<Stored> {
    let status = |stored: &Stored| stored.readiness().status;
    let made = |spec: &Spec, before: &Stored| {
        let mut made = stored(spec, before.ready.clone());
        made.deleting = before.deleting;
        made
    };
    match (write, there) {
        (Write::Create(spec), None) => Some(stored(&spec, None)),
        (Write::Create(_), Some(_)) => panic!("made twice"),
        (Write::Apply(version, spec), Some(there)) => {
            assert_eq!(version, Version::of(&there));
            if !there.is_reached_as(&spec) {
                assert_ne!(
                    status(&there),
                    Status::True,
                    "changed while peers send there"
                );
                assert!(there.ready.is_none() || seen.drained, "changed too early");
            }
            Some(made(&spec, &there))
        }
        (Write::Mark(version, ready), Some(mut there)) => {
            assert_eq!(version, Version::of(&there));
            let turns = status(&there) != Status::True && ready.status == Status::True;
            assert!(!turns || seen.settled, "ready too early");
            assert!(!there.readiness().same(&ready), "written for nothing");
            there.ready = Some(ready);
            Some(there)
        }
        (Write::Delete(version), Some(there)) => {
            assert_eq!(version, Version::of(&there));
            assert_ne!(
                status(&there),
                Status::True,
                "deleted while peers send there"
            );
            assert!(there.ready.is_none() || seen.drained, "deleted too early");
            None
        }
        (write, None) => panic!("nothing is there for {write:?}"),
    }
}

proptest! {
    #[test]
    fn few_steps_lead_from_anything_to_what_is_wanted_and_no_further(
        desired in desires(),
        there in prop::option::of(states()),
    ) {
        let before = there.clone();
        let mut there = there;
        let mut seen = NOT_YET;
        let mut last = Step::Nothing;
        for _ in 0..10 {
            last = next(&desired, there.as_ref(), seen);
            match last.clone() {
                Step::Nothing | Step::Foreign => break,
                Step::Wait(Wait::Drained) => {
                    prop_assert!(needs_drain(&desired, there.as_ref().unwrap()));
                    seen.drained = true;
                }
                Step::Wait(Wait::Settled) => seen.settled = true,
                Step::Wait(Wait::Deleted) => {
                    prop_assert!(there.as_ref().unwrap().deleting);
                    there = None;
                }
                Step::Write { write, .. } => {
                    let drained = !matches!(write, Write::Mark(..));
                    there = carry_out(write, there, seen);
                    // What was waited for holds for one step.
                    seen.drained &= !drained;
                    seen.settled = false;
                }
            }
        }
        match (&desired, &there) {
            (Desired::Present { spec, ready }, Some(there)) if there.ours => {
                prop_assert_eq!(last, Step::Nothing);
                prop_assert!(there.holds(spec) && there.readiness().same(ready));
            }
            (Desired::Present { .. }, there) => {
                prop_assert_eq!(last, Step::Foreign);
                prop_assert_eq!(there, &before, "a foreign object is not touched");
            }
            (Desired::Marked { uid, ready }, Some(there)) if there.ours && *uid == there.uid => {
                prop_assert!(there.readiness().same(ready));
                prop_assert_eq!(&there.spec, &before.unwrap().spec);
            }
            (Desired::Gone { uid, .. }, Some(there)) => {
                let meant = uid.as_ref().is_none_or(|uid| *uid == there.uid);
                prop_assert!(!there.ours || !meant, "{there:?}");
                prop_assert_eq!(Some(there), before.as_ref());
            }
            (_, there) => prop_assert!(there.is_none() || *there == before),
        }
    }
}
