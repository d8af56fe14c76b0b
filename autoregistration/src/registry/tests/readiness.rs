//! Readiness, signs of life, and their absence.

use super::*;

#[test]
fn health_flips_readiness_and_is_acknowledged() {
    let mut bench = Bench::new(GROUP);
    let effects = bench.open(
        1,
        &Vm {
            state: State::Starting,
            ..VM
        },
    );
    let uid = assignment(&effects).workload.clone().unwrap().uid;
    assert_eq!(bench.ready(), [false]);
    assert_eq!(
        ack(&bench.report(1, 2, State::Healthy, &uid)),
        Outcome::Persisted
    );
    assert_eq!(bench.ready(), [true]);
    assert_eq!(
        ack(&bench.report(1, 1, State::Unhealthy, &uid)),
        Outcome::Stale,
        "an overtaken report changes nothing"
    );
    assert_eq!(bench.ready(), [true]);
    bench.report(1, 3, State::Unhealthy, &uid);
    assert_eq!(bench.ready(), [false]);
}

#[test]
fn health_for_another_workload_is_stale_and_ends_the_stream_when_it_goes_on() {
    let mut bench = Bench::new(GROUP);
    bench.open(
        1,
        &Vm {
            state: State::Starting,
            ..VM
        },
    );
    for seq in [2, 3] {
        let effects = bench.report(1, seq, State::Healthy, "old");
        assert_eq!(ack(&effects), Outcome::Stale);
        assignment(&effects);
    }
    let effects = bench.report(1, 4, State::Healthy, "old");
    assert_eq!(ended(&effects, 1), Some(Reason::StaleGeneration));
    assert_eq!(bench.ready(), [false]);
}

#[test]
fn a_lost_vm_stays_ready_for_the_grace_then_unready_then_goes() {
    let mut bench = Bench::new(GROUP);
    bench.open(1, &VM);
    let names = bench.names();
    bench.event(Event::Closed { stream: 1 });
    bench.pass(seconds(44));
    assert_eq!(bench.ready(), [true]);
    bench.pass(seconds(1));
    assert_eq!(bench.ready(), [false]);
    let objects = bench.registry.objects();
    assert_eq!(
        objects.workloads[0].condition.ready.status,
        health::Status::Unknown
    );
    bench.pass(seconds(15 * 60 - 46));
    assert_eq!(bench.names(), names);
    bench.pass(seconds(1));
    assert_eq!(bench.names(), Vec::<String>::new());
}

#[test]
fn a_vm_that_comes_back_has_its_old_name_and_keeps_it_past_the_ttl() {
    let mut bench = Bench::new(GROUP);
    bench.open(1, &VM);
    let names = bench.names();
    bench.event(Event::Closed { stream: 1 });
    bench.pass(seconds(60));
    bench.open(2, &Vm { session: 2, ..VM });
    assert_eq!((bench.names(), bench.ready()), (names.clone(), vec![true]));
    for seq in 1..60 {
        bench.heartbeat(2, seq);
        bench.pass(seconds(30));
    }
    assert_eq!(bench.names(), names);
}

#[test]
fn heartbeats_are_answered_once_and_answers_never() {
    let mut bench = Bench::new(GROUP);
    bench.open(1, &VM);
    let answer = vec![Effect::Send(
        1,
        Box::new(Kind::Heartbeat(v1::Heartbeat { seq: 5 })),
    )];
    assert_eq!(bench.heartbeat(1, 5), answer);
    assert_eq!(bench.heartbeat(1, 5), [], "our own answer sent back");
    bench.pass(HEARTBEAT);
    assert_eq!(bench.heartbeat(1, 5), answer, "a harness need not count");
    assert_eq!(bench.heartbeat(1, OUR_QUESTION | 7), []);
}

#[test]
fn three_missed_heartbeats_end_a_stream_and_keep_the_workload() {
    let mut bench = Bench::new(GROUP);
    bench.open(1, &VM);
    assert_eq!(ended(&bench.pass(seconds(89)), 1), None);
    assert_eq!(
        ended(&bench.pass(seconds(1)), 1),
        Some(Reason::HeartbeatMissed)
    );
    assert_eq!(bench.ready(), [true]);
}
