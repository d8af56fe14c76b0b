//! One of several replicas: who has a VM.

mod lost;

use super::*;
use crate::registry::name::Fingerprint;
use crate::registry::workload::Duty;
use crate::store::Status;

fn claim(vm: &Vm) -> Claim {
    let hello = vm.hello();
    Claim {
        fingerprint: Fingerprint::new(&hello.group, &ID.parse().unwrap(), &hello.instance_id),
        session_id: hello.session_id,
        stream_seq: hello.stream_seq,
    }
}

fn claimed(stream: StreamId, claimed: Claimed) -> Event {
    Event::Claimed { stream, claimed }
}

/// A VM that nobody else has.
fn join(bench: &mut Bench, stream: StreamId, vm: &Vm) -> Vec<Effect> {
    let effects = bench.open(stream, vm);
    assert_eq!(effects, [Effect::Claim(stream, claim(vm))]);
    bench.event(claimed(stream, Claimed::Free))
}

fn ask(bench: &mut Bench, ask: AskId, vm: &Vm) -> Vec<Effect> {
    let claim = claim(vm);
    bench.event(Event::Asked { ask, claim })
}

fn answer(effects: &[Effect]) -> Option<(AskId, Claimed)> {
    effects.iter().find_map(|effect| match effect {
        Effect::Answer(ask, claimed) => Some((*ask, *claimed)),
        _ => None,
    })
}

fn census(vms: &[&Vm]) -> Event {
    Event::Census(Census {
        complete: true,
        present: vms.iter().map(|vm| claim(vm).fingerprint.short()).collect(),
    })
}

/// The only workload, as the store has it.
fn there(bench: &Bench) -> (Key, Stored) {
    let (key, workload) = bench.registry.workloads.iter().next().unwrap();
    (key.clone(), Stored::clone(workload.there.as_ref().unwrap()))
}

fn status(bench: &Bench) -> Status {
    bench.registry.objects().workloads[0].condition.ready.status
}

#[test]
fn a_vm_joins_when_no_other_replica_has_it() {
    let mut bench = Bench::of_several(GROUP);
    assignment(&join(&mut bench, 1, &VM));
    for (answer, reason) in [
        (Claimed::Held, Reason::DuplicateInstance),
        (Claimed::Superseded, Reason::Superseded),
    ] {
        let other = Vm {
            instance: 2,
            ip: "10.77.0.3",
            ..VM
        };
        bench.open(2, &other);
        let effects = bench.event(claimed(2, answer));
        assert_eq!(ended(&effects, 2), Some(reason));
    }
    assert_eq!(bench.names().len(), 1);
    // An answer to a stream that does not wait for one changes nothing.
    assert_eq!(bench.event(claimed(1, Claimed::Held)), []);
}

#[test]
fn a_stream_that_falls_silent_is_ended_also_where_there_was_none_when_others_were_looked_at() {
    let rules = Rules {
        restore_window: Duration::ZERO,
        ..rules()
    };
    let mut bench = Bench::with(rules, flags(), Replicas::Several, GROUP);
    bench.pass(seconds(1));
    join(&mut bench, 1, &VM);
    bench.pass(seconds(60));
    bench.heartbeat(1, 1);
    assert_eq!(ended(&bench.pass(seconds(89)), 1), None);
    let effects = bench.pass(seconds(1));
    assert_eq!(ended(&effects, 1), Some(Reason::HeartbeatMissed));
}

#[test]
fn a_vm_that_has_gone_to_another_replica_is_given_up_and_no_more_written() {
    let mut bench = Bench::of_several(GROUP);
    join(&mut bench, 1, &VM);
    let effects = ask(&mut bench, 7, &Vm { seq: 0, ..VM });
    assert_eq!(answer(&effects), Some((7, Claimed::Superseded)));
    let effects = ask(&mut bench, 8, &Vm { seq: 2, ..VM });
    assert_eq!(ended(&effects, 1), Some(Reason::Superseded));
    assert_eq!(answer(&effects), Some((8, Claimed::Free)));
    let key = bench.view().members.into_keys().next().unwrap();
    assert_eq!(bench.registry.workloads.get(&key).unwrap().wished, None);
    let stranger = Vm { instance: 9, ..VM };
    assert_eq!(
        answer(&ask(&mut bench, 9, &stranger)),
        Some((9, Claimed::Free))
    );
}

#[test]
fn another_process_gets_the_vm_only_when_ours_is_silent() {
    let mut bench = Bench::of_several(GROUP);
    join(&mut bench, 1, &VM);
    let other = Vm { session: 2, ..VM };
    let effects = ask(&mut bench, 1, &other);
    assert!(
        matches!(&effects[..], [Effect::Send(1, kind)]
            if matches!(kind.as_ref(), Kind::Heartbeat(beat) if beat.seq & OUR_QUESTION != 0)),
        "{effects:?}"
    );
    let effects = bench.heartbeat(1, OUR_QUESTION | 1);
    assert_eq!(answer(&effects), Some((1, Claimed::Held)));
    assert_eq!(ended(&effects, 1), None);

    ask(&mut bench, 2, &other);
    assert_eq!(answer(&bench.pass(Duration::from_millis(4900))), None);
    let effects = bench.pass(Duration::from_millis(100));
    assert_eq!(answer(&effects), Some((2, Claimed::Free)));
    assert_eq!(ended(&effects, 1), Some(Reason::DuplicateInstance));
    assert_eq!(
        bench.ready(),
        [true],
        "the new replica says what becomes of it"
    );
}

#[test]
fn a_vm_that_came_back_elsewhere_is_not_removed() {
    let mut bench = Bench::of_several(GROUP);
    join(&mut bench, 1, &VM);
    bench.leave(1, Mode::Remove);
    let key = bench.view().members.into_keys().next().unwrap();
    let removes = |bench: &Bench| {
        let workload = bench.registry.workloads.get(&key).unwrap();
        matches!(workload.wished, Some(Desired::Gone { .. }))
    };
    assert!(removes(&bench));
    let mut stored = Stored::clone(
        bench
            .registry
            .workloads
            .get(&key)
            .unwrap()
            .there
            .as_ref()
            .unwrap(),
    );
    assert_eq!(stored.readiness().status, Status::False);
    if let Some(ready) = &mut stored.ready {
        ready.status = Status::True;
    }
    bench.event(Event::News(News::One(key.clone(), Box::new(stored))));
    assert!(!removes(&bench));
    bench.pass(seconds(5));
    assert_eq!(bench.ready(), [true]);
}

#[test]
fn another_object_of_the_name_is_not_the_one_to_be_removed() {
    let mut bench = Bench::of_several(GROUP);
    join(&mut bench, 1, &VM);
    bench.leave(1, Mode::Remove);
    let (key, mut stored) = there(&bench);
    stored.uid = "another".to_owned();
    bench.event(Event::News(News::One(key.clone(), Box::new(stored))));
    let workload = bench.registry.workloads.get(&key).unwrap();
    assert_eq!((workload.duty, &workload.wished), (Duty::None, &None));
}

#[test]
fn a_silent_session_is_ended_also_where_nothing_else_is_due() {
    let rules = Rules {
        restore_window: Duration::ZERO,
        ..rules()
    };
    let mut bench = Bench::with(rules, flags(), Replicas::Several, GROUP);
    bench.event(Event::Tick);
    assert_eq!(bench.due(), None);
    join(&mut bench, 1, &VM);
    assert_eq!(
        ended(&bench.pass(HEARTBEAT * 3), 1),
        Some(Reason::HeartbeatMissed)
    );
}

#[test]
fn one_that_goes_down_asks_its_vms_to_go_and_takes_no_others() {
    let mut bench = Bench::of_several(GROUP);
    join(&mut bench, 1, &VM);
    let effects = bench.event(Event::Depart {
        within: seconds(20),
    });
    assert!(
        matches!(&effects[..], [Effect::Send(1, kind)]
            if matches!(kind.as_ref(), Kind::GoAway(away) if away.reconnect)),
        "{effects:?}"
    );
    let other = Vm {
        instance: 2,
        ip: "10.77.0.3",
        ..VM
    };
    assert_eq!(ended(&bench.open(2, &other), 2), Some(Reason::Draining));
    bench.heartbeat(1, 1);
    bench.event(Event::Closed { stream: 1 });
    assert_eq!(bench.ready(), [true]);
}

#[test]
fn of_two_replicas_that_ask_for_the_same_vm_one_gets_it() {
    let other_process = |session| Vm { session, ..VM };
    for (theirs, expected, ends) in [
        (Vm { seq: 2, ..VM }, Claimed::Free, true),
        (Vm { seq: 0, ..VM }, Claimed::Superseded, false),
        (other_process(0), Claimed::Free, false),
        (other_process(2), Claimed::Held, false),
    ] {
        let mut bench = Bench::of_several(GROUP);
        bench.open(1, &VM);
        let effects = ask(&mut bench, 1, &theirs);
        assert_eq!(answer(&effects), Some((1, expected)));
        assert_eq!(ended(&effects, 1).is_some(), ends);
    }
}

#[test]
fn what_was_still_to_be_written_of_a_vm_that_is_elsewhere_is_not() {
    let mut bench = Bench::of_several(GROUP);
    join(&mut bench, 1, &VM);
    bench.leave(1, Mode::Remove);
    let (key, _) = there(&bench);
    // A restart: its harness comes to another replica, which asks us.
    let effects = ask(&mut bench, 5, &Vm { session: 2, ..VM });
    assert_eq!(answer(&effects), Some((5, Claimed::Free)));
    let workload = bench.registry.workloads.get(&key).unwrap();
    assert_eq!((workload.duty, &workload.wished), (Duty::None, &None));
    bench.pass(seconds(5));
    assert_eq!(bench.names().len(), 1);
}

#[test]
fn of_two_vms_that_two_replicas_let_in_with_one_address_one_goes() {
    let other = Vm { instance: 2, ..VM };
    let fingerprints = [&VM, &other].map(|vm| claim(vm).fingerprint);
    for (ours, theirs) in [(&VM, &other), (&other, &VM)] {
        let mut elsewhere = Bench::of_several(GROUP);
        join(&mut elsewhere, 1, theirs);
        let (key, stored) = there(&elsewhere);
        let mut bench = Bench::of_several(GROUP);
        join(&mut bench, 1, ours);
        let news = News::One(key, Box::new(stored));
        let effects = bench.event(Event::News(news));
        let goes = claim(ours).fingerprint == fingerprints.into_iter().max().unwrap();
        let expected = goes.then_some(Reason::AddressInUse);
        assert_eq!(ended(&effects, 1), expected);
    }
}

#[test]
fn a_vm_that_was_let_in_while_a_replica_could_not_be_asked_is_asked_for_until_it_can_be() {
    let late = |answer| {
        let mut bench = Bench::of_several(GROUP);
        bench.open(1, &VM);
        assignment(&bench.event(claimed(1, Claimed::Unheard)));
        for _ in 0..2 {
            assert_eq!(bench.pass(Duration::from_millis(9900)), []);
            let effects = bench.pass(Duration::from_millis(200));
            assert_eq!(effects, [Effect::Claim(1, claim(&VM))]);
            // Nobody is asked twice at a time.
            assert_eq!(bench.pass(seconds(10)), []);
            bench.event(claimed(1, Claimed::Unheard));
        }
        bench.pass(seconds(11));
        let effects = bench.event(claimed(1, answer));
        assert_eq!(bench.pass(seconds(20)), []);
        (ended(&effects, 1), bench)
    };
    let (end, bench) = late(Claimed::Free);
    assert_eq!((end, bench.ready()), (None, vec![true]));
    for (answer, reason) in [
        (Claimed::Held, Reason::DuplicateInstance),
        (Claimed::Superseded, Reason::Superseded),
    ] {
        let (end, bench) = late(answer);
        assert_eq!(end, Some(reason));
        let (key, _) = there(&bench);
        let workload = bench.registry.workloads.get(&key).unwrap();
        assert_eq!((workload.duty, &workload.wished), (Duty::None, &None));
    }
}
