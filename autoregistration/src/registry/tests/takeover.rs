//! Who may be a workload when two claim to be.

use std::net::IpAddr;

use super::*;

#[test]
fn a_newer_stream_of_the_same_process_takes_over_and_an_older_one_does_not() {
    let mut bench = Bench::new(GROUP);
    bench.open(1, &Vm { seq: 2, ..VM });
    let effects = bench.open(2, &Vm { seq: 3, ..VM });
    assert_eq!(ended(&effects, 1), Some(Reason::Superseded));
    assignment(&effects);
    let effects = bench.open(3, &Vm { seq: 1, ..VM });
    assert_eq!(ended(&effects, 3), Some(Reason::Superseded));
    // What the shell reports late of the old stream takes nothing away from the new one.
    bench.event(Event::Closed { stream: 1 });
    bench.heartbeat(2, 1);
    bench.pass(seconds(60));
    assert_eq!(bench.ready(), [true]);
}

#[test]
fn a_clone_of_a_living_vm_is_refused_as_soon_as_the_vm_shows_life() {
    let mut bench = Bench::new(GROUP);
    bench.open(1, &VM);
    let clone = Vm {
        session: 2,
        ip: "10.77.0.3",
        ..VM
    };
    let effects = bench.open(2, &clone);
    let question = matches!(&effects[..], [Effect::Send(1, kind)]
        if matches!(kind.as_ref(), Kind::Heartbeat(heartbeat) if heartbeat.seq & OUR_QUESTION != 0));
    assert!(question, "{effects:?}");
    bench.pass(seconds(4));
    let effects = bench.heartbeat(1, OUR_QUESTION | 2);
    assert_eq!(ended(&effects, 2), Some(Reason::DuplicateInstance));
    bench.pass(seconds(60));
    let members = bench.view().members;
    let member = members.values().next().unwrap();
    assert_eq!(member.ips, ["10.77.0.2".parse::<IpAddr>().unwrap()]);
    assert!(member.ready);
}

#[test]
fn a_restarted_vm_takes_over_when_its_old_stream_is_silent_for_five_seconds() {
    let mut bench = Bench::new(GROUP);
    bench.open(1, &VM);
    let names = bench.names();
    bench.open(2, &Vm { session: 2, ..VM });
    bench.pass(Duration::from_millis(4900));
    let effects = bench.pass(Duration::from_millis(100));
    assert_eq!(ended(&effects, 1), Some(Reason::DuplicateInstance));
    assignment(&effects);
    assert_eq!((bench.names(), bench.ready()), (names, vec![true]));
}

#[test]
fn the_end_of_the_old_stream_lets_the_newcomer_in_at_once() {
    let mut bench = Bench::new(GROUP);
    bench.open(1, &VM);
    bench.open(2, &Vm { session: 2, ..VM });
    assignment(&bench.event(Event::Closed { stream: 1 }));
}

#[test]
fn a_clone_does_not_slip_in_while_the_vm_changes_its_stream() {
    let mut bench = Bench::new(GROUP);
    bench.open(1, &VM);
    bench.open(
        2,
        &Vm {
            session: 2,
            ip: "10.77.0.3",
            ..VM
        },
    );
    let effects = bench.open(3, &Vm { seq: 2, ..VM });
    assert_eq!(ended(&effects, 1), Some(Reason::Superseded));
    assert_eq!(ended(&effects, 2), Some(Reason::DuplicateInstance));
    assert_eq!(
        assignment(&effects).workload.as_ref().unwrap().ips,
        ["10.77.0.2"]
    );
}
