//! A group says how long the workload of a VM that is away is kept.

use super::*;
use crate::store::Status;

fn lasting(ttl: &str) -> String {
    let annotations = format!("annotations: {{ meshexpansion.io/workload-ttl: '{ttl}' }}");
    let metadata = format!("namespace: training, {annotations} }}");
    GROUP.replace("namespace: training }", &metadata)
}

fn away(group: &str) -> Bench {
    let mut bench = Bench::new(group);
    bench.open(1, &VM);
    bench.event(Event::Closed { stream: 1 });
    bench
}

fn status(bench: &Bench) -> Option<Status> {
    let workloads = bench.registry.objects().workloads;
    Some(workloads.first()?.condition.ready.status)
}

#[test]
fn the_group_s_time_counts_in_place_of_the_usual() {
    for (group, kept) in [
        (GROUP.to_owned(), seconds(15 * 60)),
        (lasting("1h"), seconds(3600)),
        (lasting("1m30s"), seconds(90)),
    ] {
        let mut bench = away(&group);
        bench.pass(kept.checked_sub(seconds(1)).unwrap());
        assert_eq!(bench.names().len(), 1, "{kept:?}");
        assert_eq!(status(&bench), Some(Status::Unknown));
        bench.pass(seconds(2));
        assert_eq!(bench.names(), Vec::<String>::new(), "{kept:?}");
    }
}

#[test]
fn nobody_is_taken_for_gone_before_the_grace_is_over() {
    let mut bench = away(&lasting("1s"));
    bench.pass(seconds(44));
    assert_eq!(bench.names().len(), 1);
    bench.pass(seconds(2));
    assert_eq!(bench.names(), Vec::<String>::new());
}

#[test]
fn an_edit_counts_for_those_that_are_away_already() {
    let mut bench = away(&lasting("1h"));
    bench.pass(seconds(600));
    assert_eq!(bench.names().len(), 1);
    bench.event(Event::Manifests(manifests(&lasting("5m"))));
    bench.pass(seconds(2));
    assert_eq!(bench.names(), Vec::<String>::new());
}

#[test]
fn the_leader_of_several_goes_by_it_too() {
    let mut bench = Bench::of_several(&lasting("2m"));
    bench.open(1, &VM);
    bench.event(Event::Claimed {
        stream: 1,
        claimed: Claimed::Free,
    });
    bench.event(Event::Leading(true));
    bench.event(Event::Closed { stream: 1 });
    let look = |bench: &mut Bench, seconds: u64| {
        for _ in 0..seconds / 10 {
            bench.pass(Duration::from_secs(10));
            bench.event(Event::Census(Census {
                complete: true,
                present: std::collections::HashSet::new(),
            }));
        }
    };
    look(&mut bench, 110);
    assert_eq!(status(&bench), Some(Status::Unknown));
    look(&mut bench, 60);
    assert_eq!(bench.names(), Vec::<String>::new());
}

#[test]
fn what_is_no_time_is_a_problem_of_the_group() {
    for (ttl, problem) in [
        ("1h", None),
        ("1s", None),
        ("720h", None),
        ("0", Some("is less than 1s")),
        ("721h", Some("is more than 720h")),
        ("an hour", Some("is not a duration")),
    ] {
        let source = Source {
            file: "a.yaml".into(),
            text: lasting(ttl),
        };
        let error = crate::manifests::parse(&[source]).err();
        let said = error.map(|error| error.to_string()).unwrap_or_default();
        assert!(said.contains(problem.unwrap_or_default()), "{ttl}: {said}");
        assert_eq!(said.is_empty(), problem.is_none(), "{ttl}: {said}");
    }
}
