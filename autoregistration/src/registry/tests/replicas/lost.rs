//! One of several replicas: who says that nobody has a VM.

use super::*;

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
fn a_new_leader_counts_no_silence_from_before_it_led() {
    let mut bench = Bench::of_several(GROUP);
    join(&mut bench, 1, &VM);
    bench.event(Event::Closed { stream: 1 });
    // As silent as every VM is that another replica has.
    bench.pass(seconds(100));
    bench.event(Event::Leading(true));
    let grace = bench.registry.rules.disconnect_grace;
    bench.pass(grace.saturating_sub(seconds(1)));
    bench.event(census(&[]));
    assert_eq!(status(&bench), Status::True);
    bench.pass(seconds(1));
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
