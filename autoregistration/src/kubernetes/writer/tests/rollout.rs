//! A change of a whole group.

use proptest::prelude::*;

use super::*;
use crate::store::Spec;

/// Of those that serve one in four may be out at a time, or one.
fn rolls_out_group_by_group(workloads: usize) {
    let named = |number: usize| format!("w{number}");
    let opaque = |name: &str| Spec {
        annotations: [("config.linkerd.io/opaque-ports".to_owned(), "80".to_owned())].into(),
        server_name: name.to_owned(),
        ..at(1)
    };
    let plain = |name: &str| Spec {
        server_name: name.to_owned(),
        ..at(1)
    };
    let mut bench = Bench::new();
    for name in (0..workloads).map(named) {
        bench.wish(&name, present(plain(&name), healthy()));
    }
    bench.settle();
    for name in (0..workloads).map(named) {
        bench.wish(&name, present(opaque(&name), healthy()));
    }
    let most = (workloads / 4).max(1);
    let mut worst = 0;
    for _ in 0..100 * workloads {
        bench.list_slices();
        while let Some(call) = bench.call() {
            let answer = bench.carry_out(&call);
            bench.answer(&call, answer);
            let serves = |name: &String| {
                let stored = bench.stored(name).unwrap();
                stored.readiness().status == Status::True
            };
            let out = workloads - (0..workloads).map(named).filter(serves).count();
            worst = worst.max(out);
            assert!(out <= most, "{out} of {workloads} are out");
        }
        bench.hear();
        let Some(wake) = bench.writer.wake(bench.now) else {
            break;
        };
        bench.now = wake.max(bench.now);
    }
    assert_eq!(worst, most, "no slower than it has to be");
    for name in (0..workloads).map(named) {
        let wanted = present(opaque(&name), healthy());
        assert!(bench.is_so(&name, &wanted), "{name}: {:?}", bench.writer);
    }
}

#[test]
fn a_small_group_is_changed_one_after_the_other() {
    rolls_out_group_by_group(1);
    rolls_out_group_by_group(3);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn a_change_of_a_group_leaves_three_in_four_where_they_are(workloads in 1_usize..40) {
        rolls_out_group_by_group(workloads);
    }
}
