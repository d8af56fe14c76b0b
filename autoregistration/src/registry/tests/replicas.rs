//! One of several replicas: who has a VM, and who says that nobody has.

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
fn nobody_is_lost_before_the_leader_has_asked_everybody_for_the_whole_grace() {
    let mut bench = Bench::of_several(GROUP);
    join(&mut bench, 1, &VM);
    bench.event(Event::Closed { stream: 1 });
    bench.pass(seconds(100));
    bench.event(census(&[]));
    assert_eq!(status(&bench), Status::True, "we don't lead");

    bench.event(Event::Leading(true));
    bench.event(census(&[]));
    assert_eq!(status(&bench), Status::True, "we have just begun to look");
    bench.pass(seconds(44));
    bench.event(Event::Census(Census::default()));
    bench.pass(seconds(44));
    bench.event(census(&[]));
    assert_eq!(status(&bench), Status::True, "one did not answer meanwhile");
    bench.event(census(&[&VM]));
    bench.pass(seconds(44));
    bench.event(census(&[]));
    assert_eq!(status(&bench), Status::True, "another had it meanwhile");
    bench.pass(seconds(1));
    bench.event(census(&[]));
    assert_eq!(status(&bench), Status::Unknown);

    bench.pass(seconds(15 * 60));
    bench.event(census(&[]));
    bench.pass(seconds(1));
    assert_eq!(bench.names(), Vec::<String>::new());
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
fn a_vm_of_which_another_replica_has_written_is_not_called_lost() {
    let mut bench = Bench::of_several(GROUP);
    bench.event(Event::Leading(true));
    join(
        &mut bench,
        1,
        &Vm {
            state: State::Unhealthy,
            ..VM
        },
    );
    bench.event(Event::Closed { stream: 1 });
    bench.pass(seconds(50));
    // Not through the store: it is what our wish and their write race for.
    let effects = bench.registry.handle(bench.now, census(&[]));
    assert!(effects.iter().any(|effect| matches!(
        effect,
        Effect::Wish(Wish {
            desired: Some(Desired::Marked { .. }),
            ..
        })
    )));
    let (key, mut stored) = there(&bench);
    stored.ready = Some(Ready {
        status: Status::True,
        reason: "ProbeSucceeded".to_owned(),
        message: String::new(),
    });
    bench.event(Event::News(News::One(key.clone(), Box::new(stored))));
    let workload = bench.registry.workloads.get(&key).unwrap();
    assert_eq!((workload.duty, &workload.wished), (Duty::None, &None));
    assert_eq!(bench.ready(), [true]);
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
fn when_many_are_lost_at_once_none_is_called_unreachable_until_they_are_back() {
    let mut bench = Bench::of_several(GROUP);
    let vms = [
        "10.77.0.1",
        "10.77.0.2",
        "10.77.0.3",
        "10.77.0.4",
        "10.77.0.5",
        "10.77.0.6",
        "10.77.0.7",
        "10.77.0.8",
    ];
    let vms = vms.map(|ip| Vm {
        instance: ip.as_bytes()[8],
        ip,
        ..VM
    });
    for (stream, vm) in (1..).zip(&vms) {
        join(&mut bench, stream, vm);
    }
    bench.event(Event::Leading(true));
    for stream in 1..=8 {
        bench.event(Event::Closed { stream });
    }
    bench.notices.clear();
    for _ in 0..10 {
        bench.pass(seconds(10));
        bench.event(census(&[]));
    }
    assert_eq!(bench.notices.len(), 1, "the group is told once");
    assert!(bench.registry.totals().mass_loss);
    assert_eq!(bench.ready(), [true; 8]);

    let back = vms.each_ref();
    bench.event(census(&back[..7]));
    assert!(!bench.registry.totals().mass_loss);
    bench.pass(seconds(40));
    bench.event(census(&back[..7]));
    assert_eq!(bench.ready(), [true; 8], "it has its whole grace again");
    bench.pass(seconds(10));
    bench.event(census(&back[..7]));
    assert_eq!(bench.ready().iter().filter(|ready| **ready).count(), 7);
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
fn a_new_leader_waits_until_those_of_the_old_one_can_be_back() {
    let mut bench = Bench::of_several(GROUP);
    join(&mut bench, 1, &VM);
    bench.event(Event::Closed { stream: 1 });
    bench.registry.rules.disconnect_grace = seconds(10);
    bench.event(Event::Leading(true));
    bench.pass(seconds(20));
    bench.event(census(&[]));
    assert_eq!(status(&bench), Status::True);
    bench.pass(seconds(20));
    bench.event(census(&[]));
    assert_eq!(status(&bench), Status::Unknown);
}

#[test]
fn a_mark_that_was_never_written_is_made_again_by_the_next_leader() {
    let mut bench = Bench::of_several(GROUP);
    join(&mut bench, 1, &VM);
    bench.event(Event::Closed { stream: 1 });
    bench.event(Event::Leading(true));
    bench.pass(seconds(50));
    // Not through the store: its API server is away, and with it soon the leadership.
    bench.registry.handle(bench.now, census(&[]));
    assert_eq!(status(&bench), Status::Unknown);
    bench.event(Event::Leading(false));
    assert_eq!(status(&bench), Status::True);
    assert_eq!(there(&bench).1.readiness().status, Status::True);

    bench.event(Event::Leading(true));
    bench.pass(seconds(50));
    bench.event(census(&[]));
    assert_eq!(there(&bench).1.readiness().status, Status::Unknown);
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

#[test]
fn who_is_still_lost_after_an_hour_is_called_so_after_another_grace() {
    let mut bench = Bench::of_several(GROUP);
    let ips = ["10.77.0.1", "10.77.0.2", "10.77.0.3", "10.77.0.4"];
    let more = ["10.77.0.5", "10.77.0.6", "10.77.0.7", "10.77.0.8"];
    for (stream, ip) in (1..).zip(ips.into_iter().chain(more)) {
        let instance = u8::try_from(stream).unwrap();
        join(&mut bench, stream, &Vm { instance, ip, ..VM });
    }
    bench.event(Event::Leading(true));
    for stream in 1..=8 {
        bench.event(Event::Closed { stream });
    }
    let mut began = None;
    let mut over = None;
    while over.is_none() {
        bench.pass(seconds(10));
        bench.event(census(&[]));
        assert_eq!(bench.ready(), [true; 8]);
        match (bench.registry.totals().mass_loss, began) {
            (true, None) => began = Some(bench.now),
            (false, Some(_)) => over = Some(bench.now),
            _ => {}
        }
    }
    let lasted = over.unwrap().saturating_sub(began.unwrap());
    assert_eq!(lasted, crate::breaker::LONGEST);
    bench.pass(seconds(40));
    bench.event(census(&[]));
    assert_eq!(bench.ready(), [true; 8], "they have their grace again");
    bench.pass(seconds(10));
    bench.event(census(&[]));
    assert_eq!(bench.ready(), [false; 8]);
}

#[test]
fn a_vm_that_another_replica_has_called_ready_again_has_its_whole_grace_again() {
    let mut bench = Bench::of_several(GROUP);
    join(&mut bench, 1, &VM);
    bench.event(Event::Closed { stream: 1 });
    bench.event(Event::Leading(true));
    bench.pass(seconds(50));
    bench.event(census(&[]));
    assert_eq!(status(&bench), Status::Unknown);
    // It was on another replica, and gone before anybody counted it there.
    let (key, mut stored) = there(&bench);
    stored.ready = Some(Ready {
        status: Status::True,
        reason: "ProbeSucceeded".to_owned(),
        message: String::new(),
    });
    bench.event(Event::News(News::One(key, Box::new(stored))));
    bench.pass(seconds(44));
    bench.event(census(&[]));
    assert_eq!(status(&bench), Status::True);
    bench.pass(seconds(1));
    bench.event(census(&[]));
    assert_eq!(status(&bench), Status::Unknown);
}
