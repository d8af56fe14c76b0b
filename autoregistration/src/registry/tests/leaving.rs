//! How a VM goes, and how it comes back.

use super::*;

#[test]
fn a_drain_is_not_ready_and_is_taken_back_by_health() {
    let mut bench = Bench::new(GROUP);
    bench.open(1, &VM);
    assert_eq!(bench.leave(1, Mode::Drain), []);
    assert_eq!(bench.ready(), [false]);
    let effects = bench.report(1, 2, State::Healthy, "");
    assert_eq!(ack(&effects), Outcome::Queued);
    assert_eq!(bench.ready(), [false], "it fell a moment ago");
    bench.pass(seconds(5));
    assert_eq!(bench.ready(), [true]);
}

#[test]
fn a_reboot_keeps_the_workload_not_ready_and_the_return_is_ready() {
    let mut bench = Bench::new(GROUP);
    bench.open(1, &VM);
    let names = bench.names();
    assert_eq!(bench.leave(1, Mode::Reboot), [Effect::End(1, None)]);
    assert_eq!((bench.names(), bench.ready()), (names.clone(), vec![false]));
    bench.pass(seconds(100));
    assert_eq!((bench.names(), bench.ready()), (names.clone(), vec![false]));
    bench.open(2, &Vm { session: 2, ..VM });
    assert_eq!((bench.names(), bench.ready()), (names, vec![true]));
}

#[test]
fn a_removed_workload_is_seen_not_ready_before_it_is_gone() {
    let mut bench = Bench::new(GROUP);
    bench.open(1, &VM);
    assert_eq!(bench.leave(1, Mode::Remove), [Effect::End(1, None)]);
    assert_eq!(bench.ready(), [false]);
    bench.pass(Duration::from_millis(900));
    assert_eq!(bench.ready(), [false]);
    bench.pass(Duration::from_millis(100));
    assert_eq!(bench.names(), Vec::<String>::new());
}

#[test]
fn a_return_before_the_removal_keeps_the_workload() {
    let mut bench = Bench::new(GROUP);
    bench.open(1, &VM);
    bench.leave(1, Mode::Remove);
    bench.open(2, &Vm { session: 2, ..VM });
    bench.pass(seconds(5));
    assert_eq!(bench.ready(), [true]);
}
