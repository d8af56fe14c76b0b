//! Labels that a VM asks for.

use super::*;

#[test]
fn an_edit_of_the_list_is_told_to_a_living_vm_and_keeps_it_in() {
    let group = |access: &str| manifests(&format!("{GROUP}  access: {access}\n"));
    let mut bench = Bench::new(GROUP);
    bench.event(Event::Manifests(group("{allowedLabels: [rack]}")));
    let said = hello_with(&VM, &[("rack", "r7")], "");
    let effects = bench.event(Event::Opened {
        stream: 1,
        caller: ID.parse().unwrap(),
        hello: Box::new(said.clone()),
    });
    let rack = |bench: &Bench| {
        let members = bench.view().members;
        members.values().next().unwrap().labels.get("rack").cloned()
    };
    assert_eq!(assignment(&effects).warnings, [""; 0]);
    assert_eq!(rack(&bench).as_deref(), Some("r7"));

    let effects = bench.event(Event::Manifests(group("{allowedLabels: [row]}")));
    let told = assignment(&effects).warnings.join("; ");
    assert!(told.contains("`rack`"), "{told}");
    assert_eq!((rack(&bench), bench.ready()), (None, vec![true]));
    let verdict = bench.registry.check(&ID.parse().unwrap(), &said);
    assert_eq!(verdict.problems, [""; 0]);
    assert_eq!(verdict.warnings.join("; "), told);

    // While it is away, it has what it may have.
    bench.event(Event::Manifests(group("{allowedLabels: [rack]}")));
    bench.event(Event::Closed { stream: 1 });
    bench.event(Event::Manifests(group("{allowedLabels: [rack, row]}")));
    assert_eq!(rack(&bench).as_deref(), Some("r7"));
    bench.event(Event::Manifests(group("{allowedLabels: [row]}")));
    assert_eq!(rack(&bench), None);
}

#[test]
fn labels_alone_do_not_say_who_may_join() {
    let rules = Rules {
        default_access: DefaultAccess::Deny,
        ..rules()
    };
    let group = format!("{GROUP}  access: {{allowedLabels: [rack]}}\n");
    let mut bench = Bench::with(rules, flags(), Replicas::One, &group);
    assert_eq!(
        ended(&bench.open(1, &VM), 1),
        Some(Reason::IdentityNotAllowed)
    );
}
