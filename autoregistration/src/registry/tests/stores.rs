//! What the store says: there is no assignment before it has the workload, and what is in it is taken as it is.

use super::*;
use crate::store::{Failure, Spec, Status};

fn wish(effects: &[Effect]) -> Option<Wish> {
    effects.iter().find_map(|effect| match effect {
        Effect::Wish(wish) => Some(wish.clone()),
        _ => None,
    })
}

fn spec(effects: &[Effect]) -> Arc<Spec> {
    match wish(effects).unwrap().desired.unwrap() {
        Desired::Present { spec, .. } => spec,
        other => panic!("{other:?}"),
    }
}

fn stored(spec: &Spec, uid: &str, ready: Option<Ready>) -> Stored {
    Stored {
        uid: uid.into(),
        resource_version: "1".into(),
        ours: true,
        deleting: false,
        applied: spec.hash(),
        spec: spec.clone(),
        ready,
    }
}

fn ready() -> Ready {
    Ready {
        status: Status::True,
        reason: "ProbeSucceeded".into(),
        message: String::new(),
    }
}

fn registry(text: &str) -> Registry {
    Registry::new(rules(), Replicas::One, manifests(text), settings("ANCHORS"))
}

fn open(registry: &mut Registry, stream: StreamId, vm: &Vm) -> Vec<Effect> {
    let event = Event::Opened {
        stream,
        caller: ID.parse().unwrap(),
        hello: Box::new(vm.hello()),
    };
    registry.handle(Duration::ZERO, event)
}

fn one(registry: &mut Registry, key: &Key, stored: Stored) -> Vec<Effect> {
    let news = News::One(key.clone(), Box::new(stored));
    registry.handle(Duration::ZERO, Event::News(news))
}

fn report(registry: &mut Registry, seq: u64, state: State) -> Vec<Effect> {
    let report = v1::HealthReport {
        seq,
        state: state.into(),
        ..v1::HealthReport::default()
    };
    let message = Some(Box::new(harness_message::Kind::Health(report)));
    registry.handle(Duration::ZERO, Event::Heard { stream: 1, message })
}

fn sends(effects: &[Effect]) -> usize {
    let sends = |effect: &&Effect| matches!(effect, Effect::Send(..));
    effects.iter().filter(sends).count()
}

#[test]
fn a_vm_is_assigned_and_its_health_acknowledged_when_the_store_has_it() {
    let mut registry = registry(GROUP);
    let effects = open(&mut registry, 1, &VM);
    assert_eq!(sends(&effects), 0);
    let (spec, key) = (spec(&effects), wish(&effects).unwrap().key);
    let effects = one(&mut registry, &key, stored(&spec, "u1", Some(ready())));
    let uid = |effects: &[Effect]| assignment(effects).workload.clone().unwrap().uid;
    assert_eq!(uid(&effects), "u1");

    let effects = report(&mut registry, 2, State::Unhealthy);
    assert_eq!(sends(&effects), 0, "not acknowledged yet");
    let Some(Desired::Present { ready: unready, .. }) = wish(&effects).unwrap().desired else {
        panic!("{effects:?}");
    };
    let effects = one(&mut registry, &key, stored(&spec, "u1", Some(unready)));
    assert_eq!(ack(&effects), Outcome::Persisted);

    // Somebody deletes it: it is made again, and its VM is told of the new one.
    let effects = registry.handle(Duration::ZERO, Event::News(News::Gone(key.clone())));
    assert_eq!(effects, [], "the wish stands");
    assert_eq!(
        uid(&one(&mut registry, &key, stored(&spec, "u2", None))),
        "u2"
    );
}

#[test]
fn a_known_workload_is_assigned_at_once_and_what_is_there_already_is_what_is_wished() {
    let mut first = registry(GROUP);
    let effects = open(&mut first, 1, &VM);
    let (spec, key) = (spec(&effects), wish(&effects).unwrap().key);
    let there = stored(&spec, "u1", Some(ready()));

    // We were restarted.
    let mut second = registry(GROUP);
    let all = BTreeMap::from([(key.clone(), there.clone())]);
    assert_eq!(
        second.handle(Duration::ZERO, Event::News(News::All(all))),
        []
    );
    let effects = open(&mut second, 1, &VM);
    assert_eq!(assignment(&effects).workload.as_ref().unwrap().uid, "u1");
    let Some(Desired::Present { spec, ready }) = wish(&effects).unwrap().desired else {
        panic!("{effects:?}");
    };
    assert!(there.holds(&spec) && there.readiness().same(&ready));

    // A list without it says that it is gone.
    second.handle(Duration::ZERO, Event::Closed { stream: 1 });
    second.handle(Duration::ZERO, Event::News(News::All(BTreeMap::new())));
    assert_eq!(second.view().members.len(), 0);
}

#[test]
fn a_vm_waits_while_the_store_is_away_and_its_health_is_kept() {
    let mut registry = registry(GROUP);
    let effects = open(&mut registry, 1, &VM);
    let (spec, key) = (spec(&effects), wish(&effects).unwrap().key);
    let failed = |failure| {
        Event::News(News::Failed {
            key: key.clone(),
            failure,
            message: "no route".into(),
        })
    };
    let effects = registry.handle(Duration::ZERO, failed(Failure::Unavailable));
    let told = |reason: &str| {
        matches!(&effects[..], [Effect::Count("PENDING"), Effect::Send(1, kind)]
            if matches!(kind.as_ref(), Kind::Pending(pending) if pending.reason == reason))
    };
    assert!(told("API_UNAVAILABLE"), "{effects:?}");
    assignment(&one(&mut registry, &key, stored(&spec, "u", Some(ready()))));
    report(&mut registry, 2, State::Unhealthy);
    let effects = registry.handle(Duration::ZERO, failed(Failure::Unavailable));
    assert_eq!(ack(&effects), Outcome::Queued);

    let effects = registry.handle(Duration::ZERO, failed(Failure::Foreign));
    assert_eq!(ended(&effects, 1), Some(Reason::NameTaken));
}

#[test]
fn a_name_that_somebody_else_took_first_is_left_for_the_next_one() {
    let mut registry = registry(GROUP);
    let effects = open(&mut registry, 1, &VM);
    let (spec, key) = (spec(&effects), wish(&effects).unwrap().key);
    let foreign = Stored {
        ours: false,
        ..stored(&Spec::default(), "f", None)
    };
    one(&mut registry, &key, foreign);
    let failed = News::Failed {
        key: key.clone(),
        failure: Failure::Foreign,
        message: String::new(),
    };
    let effects = registry.handle(Duration::ZERO, Event::News(failed));
    assert_eq!(ended(&effects, 1), None);
    let wishes = effects.iter().filter_map(|effect| match effect {
        Effect::Wish(wish) => Some((wish.key.clone(), wish.desired.is_some())),
        _ => None,
    });
    let wishes = wishes.collect::<Vec<_>>();
    let next = wishes[1].0.clone();
    assert_eq!(wishes, [(key, false), (next.clone(), true)]);
    assignment(&one(&mut registry, &next, stored(&spec, "u", None)));
}

#[test]
fn a_workload_that_never_came_to_be_is_forgotten_with_its_session() {
    let mut registry = registry(GROUP);
    let effects = open(&mut registry, 1, &VM);
    let key = wish(&effects).unwrap().key;
    let effects = registry.handle(Duration::ZERO, Event::Closed { stream: 1 });
    let nothing = Wish { key, desired: None };
    assert_eq!(wish(&effects), Some(nothing));
    assert_eq!(registry.view().members.len(), 0);
}

#[test]
fn names_and_addresses_of_others_are_left_to_them() {
    let mut bench = Bench::new("");
    let foreign = |ip: &str| Stored {
        ours: false,
        ..stored(
            &Spec {
                ips: vec![ip.parse().unwrap()],
                ..Spec::default()
            },
            "f",
            None,
        )
    };
    let elsewhere = ("other".to_owned(), "by-hand".to_owned());
    let news = |key: &Key, stored| Event::News(News::One(key.clone(), Box::new(stored)));
    bench.event(news(&elsewhere, foreign("10.77.0.2")));
    bench.event(Event::Manifests(manifests(GROUP)));
    let effects = bench.open(1, &VM);
    assert_eq!(ended(&effects, 1), Some(Reason::AddressInUse));
    bench.event(Event::News(News::Gone(elsewhere)));
    let first = assignment(&bench.open(2, &VM)).workload.clone().unwrap();
    bench.leave(2, Mode::Remove);
    bench.pass(seconds(1));

    let key = (first.namespace, first.name);
    bench.event(news(&key, foreign("10.77.9.9")));
    let second = assignment(&bench.open(3, &VM)).workload.clone().unwrap();
    assert_ne!(second.name, key.1);
    assert_eq!(bench.names(), [second.name]);
}

#[test]
fn a_copy_of_our_object_under_another_name_is_not_ours() {
    let mut bench = Bench::new(GROUP);
    let mut registry = registry(GROUP);
    let spec = spec(&open(&mut registry, 1, &VM));
    let copy = ("training".to_owned(), "a-copy".to_owned());
    let news = News::One(copy, Box::new(stored(&spec, "c", Some(ready()))));
    bench.event(Event::News(news));
    assert_eq!(bench.names(), Vec::<String>::new());
    assert_eq!(
        ended(&bench.open(1, &VM), 1),
        Some(Reason::AddressInUse),
        "its address is taken none the less"
    );
}

#[test]
fn an_edit_reaches_fifty_vms_at_once_and_the_others_some_at_a_time() {
    let mut bench = Bench::new(GROUP);
    let ips = (0..120)
        .map(|index| format!("10.77.1.{index}"))
        .collect::<Vec<_>>();
    for (index, ip) in (0..120).zip(&ips) {
        let ip: &'static str = Box::leak(ip.clone().into_boxed_str());
        let instance = index;
        bench.open(u64::from(index) + 1, &Vm { instance, ip, ..VM });
    }
    let edited = GROUP.replace("/ready", "/healthz");
    assert_eq!(
        sends(&bench.event(Event::Manifests(manifests(&edited)))),
        50
    );
    let quarter = Duration::from_millis(250);
    assert_eq!(sends(&bench.pass(quarter)), 50);
    assert_eq!(sends(&bench.pass(quarter)), 20);
    assert_eq!(sends(&bench.pass(quarter)), 0);
}
