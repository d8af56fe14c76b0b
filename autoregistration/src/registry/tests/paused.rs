//! A group that is paused takes nobody new, and leaves its members as they are.

use super::*;

/// The group, edited.
fn edited(annotations: &str, group: &str) -> String {
    group.replace(
        "namespace: training }",
        &format!("namespace: training, annotations: {{ {annotations} }} }}"),
    )
}

fn paused(group: &str) -> String {
    edited("meshexpansion.io/paused: 'true'", group)
}

/// The group with other labels and another probe.
fn other() -> String {
    GROUP
        .replace("training-app", "other-app")
        .replace("/ready", "/healthz")
}

fn label(bench: &Bench) -> String {
    let members = bench.view().members;
    members.values().next().unwrap().labels["app"].clone()
}

const OTHER: Vm = Vm {
    instance: 2,
    ip: "10.77.0.3",
    ..VM
};

#[test]
fn nobody_new_joins_a_paused_group_and_is_told_when_to_come_again() {
    let mut bench = Bench::new(GROUP);
    bench.open(1, &VM);
    bench.event(Event::Manifests(manifests(&paused(GROUP))));
    let effects = bench.open(2, &OTHER);
    let refusal = effects.iter().find_map(|effect| match effect {
        Effect::End(2, refusal) => refusal.clone(),
        _ => None,
    });
    let refusal = refusal.unwrap();
    assert_eq!(refusal.reason(), Reason::GroupPaused);
    assert_eq!(refusal.wait(), Some(seconds(60)));
    let check = |vm: &Vm| bench.registry.check(&ID.parse().unwrap(), &vm.hello());
    assert!(check(&OTHER).problems[0].starts_with("GROUP_PAUSED"));
    assert_eq!(check(&VM).problems, [""; 0], "a member may come again");

    bench.event(Event::Manifests(manifests(GROUP)));
    assert_eq!(ended(&bench.open(3, &OTHER), 3), None);
    assert_eq!(bench.names().len(), 2);
}

#[test]
fn members_of_a_paused_group_come_again_and_their_health_counts() {
    let mut bench = Bench::new(GROUP);
    bench.open(1, &VM);
    bench.event(Event::Manifests(manifests(&paused(GROUP))));
    bench.event(Event::Closed { stream: 1 });
    let rebooted = Vm { session: 9, ..VM };
    assignment(&bench.open(2, &rebooted));
    assert_eq!(bench.ready(), [true]);
    bench.report(2, 2, State::Unhealthy, "");
    assert_eq!(bench.ready(), [false]);
    bench.leave(2, Mode::Remove);
    bench.pass(seconds(5));
    assert_eq!(bench.names(), Vec::<String>::new());
    assert_eq!(
        ended(&bench.open(3, &rebooted), 3),
        Some(Reason::GroupPaused),
        "who has left is no member"
    );
}

#[test]
fn edits_of_a_paused_group_wait_until_it_is_resumed() {
    let mut bench = Bench::new(GROUP);
    bench.open(1, &VM);
    bench.event(Event::Manifests(manifests(&paused(GROUP))));
    let nothing = bench.event(Event::Manifests(manifests(&paused(&other()))));
    assert_eq!(nothing, []);
    assert_eq!(label(&bench), "training-app");
    // Neither does one that comes again get it, nor a change of the mesh's settings bring it along.
    bench.event(Event::Closed { stream: 1 });
    let effects = bench.open(2, &Vm { session: 9, ..VM });
    let path = |effects: &[Effect]| {
        let probe = assignment(effects).probes[0].clone();
        probe.http_get.unwrap().path
    };
    assert_eq!(path(&effects), "/ready");
    let effects = bench.event(Event::Settings(settings("NEW")));
    assert_eq!(path(&effects), "/ready", "anchors are no edit of the group");
    assert_eq!(label(&bench), "training-app");

    let effects = bench.event(Event::Manifests(manifests(&other())));
    assert_eq!(path(&effects), "/healthz");
    assert_eq!(label(&bench), "other-app");
}

#[test]
fn a_replica_that_knows_the_group_only_as_it_is_now_changes_no_workload() {
    let mut bench = Bench::new(GROUP);
    bench.open(1, &VM);
    let (key, there) = bench
        .registry
        .workloads
        .iter()
        .map(|(key, workload)| (key.clone(), Stored::clone(workload.there.as_ref().unwrap())))
        .next()
        .unwrap();
    let mut started = Bench::new(&paused(&other()));
    started.event(Event::News(News::All([(key, there)].into())));
    let effects = started.open(1, &VM);
    assert_eq!(ended(&effects, 1), None);
    assert_eq!(label(&started), "training-app");
    started.event(Event::Manifests(manifests(&other())));
    assert_eq!(label(&started), "other-app");
}

#[test]
fn a_pause_does_not_keep_in_whom_the_group_does_not_let_in_any_more() {
    let mut bench = Bench::new(GROUP);
    bench.open(1, &VM);
    let closed = format!("{}  access: {{ identities: [] }}\n", paused(GROUP));
    let effects = bench.event(Event::Manifests(manifests(&closed)));
    assert_eq!(ended(&effects, 1), Some(Reason::IdentityNotAllowed));
}

#[test]
fn what_is_neither_true_nor_false_is_a_problem_of_the_group() {
    for (value, is_good) in [("'true'", true), ("'false'", true), ("'yes'", false)] {
        let text = edited(&format!("meshexpansion.io/paused: {value}"), GROUP);
        let source = Source {
            file: "a.yaml".into(),
            text,
        };
        assert_eq!(
            crate::manifests::parse(&[source]).is_ok(),
            is_good,
            "{value}"
        );
    }
}
