use linkerd_harness_api::v1::health_ack::Outcome;
use linkerd_harness_api::v1::health_report::State;
use linkerd_harness_api::v1::leave::Mode;

use super::*;
use crate::manifests::Source;
use crate::view::View;

const GROUP: &str = r"
apiVersion: workload.buoyant.io/v1alpha1
kind: ExternalGroup
metadata: { name: training-vm, namespace: training }
spec:
  probes: [{ httpGet: { path: /ready, port: 80 } }]
  template:
    metadata: { labels: { app: training-app } }
    ports: [{ port: 80 }]
";

const ID: &str = "spiffe://root.linkerd.cluster.local/proxy-harness";

/// A registry at a time of its own, with shorthands for what harnesses say.
struct Bench {
    registry: Registry,
    now: Duration,
}

#[derive(Clone)]
struct Vm {
    instance: u8,
    session: u8,
    seq: u64,
    ip: &'static str,
    state: State,
    can_wait: bool,
}

const VM: Vm = Vm {
    instance: 1,
    session: 1,
    seq: 1,
    ip: "10.77.0.2",
    state: State::Healthy,
    can_wait: true,
};

fn manifests(text: &str) -> Arc<Manifests> {
    let source = Source {
        file: "a.yaml".into(),
        text: text.into(),
    };
    Arc::new(crate::manifests::parse(&[source]).unwrap().0)
}

fn mesh() -> Mesh {
    Mesh {
        cluster_domain: "cluster.local".into(),
        identity_trust_domain: "cluster.local".into(),
        linkerd_namespace: "linkerd".into(),
        cluster_networks: vec!["10.0.0.0/8".parse().unwrap()],
        default_inbound_policy: "all-unauthenticated".into(),
        service_network: "10.96.0.0/16".parse().unwrap(),
        restore_window: Duration::from_secs(10),
        controller: "test".into(),
    }
}

impl Bench {
    fn new(text: &str) -> Self {
        Self {
            registry: Registry::new(mesh(), manifests(text), "ANCHORS".into()),
            now: Duration::ZERO,
        }
    }

    fn event(&mut self, event: Event) -> Vec<Effect> {
        self.registry.handle(self.now, event)
    }

    fn open(&mut self, stream: StreamId, vm: &Vm) -> Vec<Effect> {
        let hello = v1::Hello {
            group: Some(v1::GroupRef {
                namespace: "training".into(),
                name: "training-vm".into(),
            }),
            instance_id: vec![vm.instance; 32],
            session_id: vec![vm.session],
            stream_seq: vm.seq,
            ips: vec![vm.ip.into()],
            health: Some(v1::HealthReport {
                seq: 1,
                state: vm.state.into(),
                ..v1::HealthReport::default()
            }),
            capabilities: vm
                .can_wait
                .then(|| "pending".to_owned())
                .into_iter()
                .collect(),
            ..v1::Hello::default()
        };
        self.event(Event::Opened {
            stream,
            caller: ID.parse().unwrap(),
            hello: Box::new(hello::check(hello).unwrap()),
        })
    }

    fn say(&mut self, stream: StreamId, message: harness_message::Kind) -> Vec<Effect> {
        self.event(Event::Heard {
            stream,
            message: Some(Box::new(message)),
        })
    }

    fn heartbeat(&mut self, stream: StreamId, seq: u64) -> Vec<Effect> {
        self.say(
            stream,
            harness_message::Kind::Heartbeat(v1::Heartbeat { seq }),
        )
    }

    fn report(&mut self, stream: StreamId, seq: u64, state: State, uid: &str) -> Vec<Effect> {
        self.say(
            stream,
            harness_message::Kind::Health(v1::HealthReport {
                seq,
                state: state.into(),
                workload_uid: uid.into(),
                ..v1::HealthReport::default()
            }),
        )
    }

    fn leave(&mut self, stream: StreamId, mode: Mode) -> Vec<Effect> {
        self.say(
            stream,
            harness_message::Kind::Leave(v1::Leave {
                mode: mode.into(),
                ..v1::Leave::default()
            }),
        )
    }

    /// Lets time pass, waking up when the registry wants to, as its task does.
    fn pass(&mut self, duration: Duration) -> Vec<Effect> {
        let until = self.now + duration;
        let mut effects = Vec::new();
        while let Some(due) = self.registry.next_due().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            effects.extend(self.event(Event::Tick));
            assert!(
                self.registry.next_due().is_none_or(|next| next > self.now),
                "the registry would spin: what was due at {:?} is still due",
                self.now
            );
        }
        self.now = until;
        effects.extend(self.event(Event::Tick));
        effects
    }

    fn view(&self) -> View {
        self.registry.view()
    }

    fn names(&self) -> Vec<String> {
        self.view().members.into_keys().map(|key| key.1).collect()
    }

    fn ready(&self) -> Vec<bool> {
        self.view()
            .members
            .values()
            .map(|member| member.ready)
            .collect()
    }
}

fn assignment(effects: &[Effect]) -> &v1::Assignment {
    effects
        .iter()
        .find_map(|effect| match effect {
            Effect::Send(_, kind) => match kind.as_ref() {
                Kind::Assignment(assignment) => Some(assignment),
                _ => None,
            },
            _ => None,
        })
        .unwrap_or_else(|| panic!("no assignment in {effects:?}"))
}

fn ended(effects: &[Effect], stream: StreamId) -> Option<Reason> {
    effects.iter().find_map(|effect| match effect {
        Effect::End(id, Some(refusal)) if *id == stream => Some(refusal.reason()),
        _ => None,
    })
}

fn ack(effects: &[Effect]) -> Outcome {
    effects
        .iter()
        .find_map(|effect| match effect {
            Effect::Send(_, kind) => match kind.as_ref() {
                Kind::HealthAck(ack) => Some(ack.outcome()),
                _ => None,
            },
            _ => None,
        })
        .unwrap_or_else(|| panic!("no acknowledgement in {effects:?}"))
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn a_vm_gets_an_assignment_with_everything_in_it() {
    let mut bench = Bench::new(GROUP);
    let effects = bench.open(1, &VM);
    let assignment = assignment(&effects);
    let workload = assignment.workload.as_ref().unwrap();
    assert!(workload.name.starts_with("training-vm-"));
    assert_eq!(workload.name.len(), "training-vm-".len() + 10);
    assert_eq!(
        workload.server_name,
        format!(
            "{}.training.external.identity.linkerd.cluster.local",
            workload.name
        )
    );
    assert_eq!(workload.identity, ID);
    let proxy = assignment.proxy.as_ref().unwrap();
    let destination = proxy.destination.as_ref().unwrap();
    assert_eq!(
        destination.addr,
        "linkerd-dst-headless.linkerd.svc.cluster.local.:8086"
    );
    let policy = proxy.policy.as_ref().unwrap();
    assert_eq!(
        policy.addr,
        "linkerd-policy.linkerd.svc.cluster.local.:8090"
    );
    assert_eq!(
        policy.identity,
        "linkerd-destination.linkerd.serviceaccount.identity.linkerd.cluster.local"
    );
    assert_eq!(proxy.trust_anchors_pem, "ANCHORS");
    assert_eq!(proxy.opaque_ports, "25,587,3306,4444,5432,6379,9300,11211");
    let probe = &assignment.probes[0];
    assert_eq!((probe.period_seconds, probe.failure_threshold), (10, 3));
    assert_eq!(bench.names(), [workload.name.as_str()]);
    assert_eq!(bench.ready(), [true]);
    assert!(effects.contains(&Effect::Count("ASSIGNED")));
}

#[test]
fn nobody_is_called_unknown_before_the_restore_window_has_passed() {
    let mut bench = Bench::new(GROUP);
    bench.pass(seconds(9));
    assert!(!bench.view().restored);
    bench.pass(seconds(1));
    assert!(bench.view().restored);
}

#[test]
fn a_restarted_controller_gives_the_same_name_uid_and_hash() {
    let first = assignment(&Bench::new(GROUP).open(1, &VM)).clone();
    let again = assignment(&Bench::new(GROUP).open(9, &Vm { session: 7, ..VM })).clone();
    assert_eq!(first, again);
}

#[test]
fn a_vm_waits_for_its_group_when_it_can_and_is_refused_when_it_cannot() {
    let mut bench = Bench::new("");
    let effects = bench.open(1, &VM);
    assert!(
        matches!(&effects[..], [Effect::Count("PENDING"), Effect::Send(1, kind)]
            if matches!(kind.as_ref(), Kind::Pending(pending) if pending.reason == "GROUP_NOT_FOUND")),
        "{effects:?}"
    );
    let effects = bench.open(
        2,
        &Vm {
            instance: 2,
            can_wait: false,
            ..VM
        },
    );
    assert_eq!(ended(&effects, 2), Some(Reason::GroupNotFound));
    let effects = bench.report(1, 2, State::Unhealthy, "");
    assert_eq!(ack(&effects), Outcome::Queued);
    let effects = bench.event(Event::Manifests(manifests(GROUP)));
    assignment(&effects);
    assert_eq!(bench.ready(), [false], "the newest health counts");
}

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
    let objects = bench.registry.objects(Arc::new(bench.view()));
    assert_eq!(
        objects.workloads[0].condition.status,
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

#[test]
fn an_address_belongs_to_one_workload_until_its_vm_is_gone_for_the_grace() {
    let mut bench = Bench::new(GROUP);
    bench.open(1, &VM);
    let other = Vm {
        instance: 2,
        session: 2,
        ..VM
    };
    assert_eq!(ended(&bench.open(2, &other), 2), Some(Reason::AddressInUse));
    bench.event(Event::Closed { stream: 1 });
    let effects = bench.open(3, &other);
    let wait = effects.iter().find_map(|effect| match effect {
        Effect::End(3, Some(refusal)) => refusal.wait(),
        _ => None,
    });
    assert_eq!(wait, Some(seconds(45)));
    bench.pass(seconds(45));
    let old = bench.names();
    // The old one was ready until this moment, and is seen not ready before it goes.
    let effects = bench.open(4, &other);
    assert_eq!(effects, []);
    assert_eq!((bench.names(), bench.ready()), (old.clone(), vec![false]));
    assignment(&bench.pass(seconds(1)));
    assert_ne!(bench.names(), old);
    assert_eq!(bench.ready(), [true]);
}

#[test]
fn a_change_of_address_is_assigned_unless_another_has_it() {
    let mut bench = Bench::new(GROUP);
    bench.open(1, &VM);
    bench.open(
        2,
        &Vm {
            instance: 2,
            ip: "10.77.0.3",
            ..VM
        },
    );
    let change = |ip: &str| {
        harness_message::Kind::Addresses(v1::AddressChange {
            seq: 1,
            ips: vec![ip.into()],
        })
    };
    let effects = bench.say(1, change("10.77.0.9"));
    assert_eq!(
        assignment(&effects).workload.as_ref().unwrap().ips,
        ["10.77.0.9"]
    );
    assert_eq!(
        ended(&bench.say(1, change("10.77.0.3")), 1),
        Some(Reason::AddressInUse)
    );
    assert_eq!(
        ended(&bench.say(2, change("127.0.0.1")), 2),
        Some(Reason::InvalidHello)
    );
}

#[test]
fn a_drain_is_not_ready_and_is_taken_back_by_health() {
    let mut bench = Bench::new(GROUP);
    bench.open(1, &VM);
    assert_eq!(bench.leave(1, Mode::Drain), []);
    assert_eq!(bench.ready(), [false]);
    bench.report(1, 2, State::Healthy, "");
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

#[test]
fn edits_of_the_group_reach_living_workloads_once_and_only_when_they_matter() {
    let mut bench = Bench::new(GROUP);
    let first = assignment(&bench.open(1, &VM)).clone();
    let labelled = GROUP.replace("training-app", "other-app");
    assert_eq!(
        bench.event(Event::Manifests(manifests(&labelled))),
        [],
        "labels are no part of the assignment"
    );
    let members = bench.view().members;
    assert_eq!(members.values().next().unwrap().labels["app"], "other-app");
    let edited = GROUP.replace("/ready", "/healthz");
    let effects = bench.event(Event::Manifests(manifests(&edited)));
    let second = assignment(&effects);
    assert_ne!(second.config_hash, first.config_hash);
    assert_eq!(second.probes[0].http_get.as_ref().unwrap().path, "/healthz");
    assert_eq!(bench.event(Event::Manifests(manifests(&edited))), []);
}

#[test]
fn annotations_of_the_group_change_the_proxys_settings() {
    let annotated = GROUP.replace(
        "labels: { app: training-app }",
        "annotations: { config.linkerd.io/default-inbound-policy: deny, config.linkerd.io/opaque-ports: '25, 3306' }",
    );
    let effects = Bench::new(&annotated).open(1, &VM);
    let proxy = assignment(&effects).proxy.as_ref().unwrap();
    assert_eq!(
        (
            proxy.default_inbound_policy.as_str(),
            proxy.opaque_ports.as_str()
        ),
        ("deny", "25,3306")
    );
}

#[test]
fn new_trust_anchors_reach_living_workloads() {
    let mut bench = Bench::new(GROUP);
    bench.open(1, &VM);
    let effects = bench.event(Event::Anchors("NEW".into()));
    assert_eq!(
        assignment(&effects)
            .proxy
            .as_ref()
            .unwrap()
            .trust_anchors_pem,
        "NEW"
    );
}

#[test]
fn a_removed_group_takes_its_workloads_along_and_gets_them_back() {
    let mut bench = Bench::new(GROUP);
    bench.open(1, &VM);
    bench.open(
        2,
        &Vm {
            instance: 2,
            ip: "10.77.0.3",
            can_wait: false,
            ..VM
        },
    );
    let names = bench.names();
    let effects = bench.event(Event::Manifests(manifests("")));
    assert_eq!(ended(&effects, 2), Some(Reason::GroupNotFound));
    assert_eq!(bench.ready(), [false, false]);
    bench.pass(seconds(1));
    assert_eq!(bench.names(), Vec::<String>::new());
    let effects = bench.event(Event::Manifests(manifests(GROUP)));
    let name = &assignment(&effects).workload.as_ref().unwrap().name;
    assert!(names.contains(name));
    assert_eq!(bench.ready(), [true]);
}

#[test]
fn a_shutdown_tells_everybody_to_come_again() {
    let mut bench = Bench::new(GROUP);
    bench.open(1, &VM);
    let effects = bench.event(Event::Shutdown);
    let told = matches!(&effects[0], Effect::Send(1, kind)
        if matches!(kind.as_ref(), Kind::GoAway(away) if away.reconnect));
    assert!(told, "{effects:?}");
    assert_eq!(ended(&effects, 1), Some(Reason::Draining));
    assert_eq!(bench.ready(), [true]);
}

#[test]
fn a_check_names_the_workload_and_the_obstacles_and_changes_nothing() {
    let mut bench = Bench::new(GROUP);
    bench.open(1, &VM);
    let view = bench.view();
    let caller = ID.parse().unwrap();
    let ask = |bench: &Bench, instance: u8, group: &str| {
        let wire = v1::Hello {
            group: Some(v1::GroupRef {
                namespace: "training".into(),
                name: group.into(),
            }),
            instance_id: vec![instance; 32],
            session_id: vec![9],
            ips: vec!["10.77.0.2".into()],
            ..v1::Hello::default()
        };
        bench.registry.check(&caller, &hello::check(wire).unwrap())
    };
    let same = ask(&bench, 1, "training-vm");
    assert_eq!(
        (same.workload_name, same.problems),
        (bench.names()[0].clone(), vec![])
    );
    let other = ask(&bench, 2, "training-vm");
    assert!(other.problems[0].starts_with("ADDRESS_IN_USE"), "{other:?}");
    assert!(ask(&bench, 1, "none").problems[0].starts_with("GROUP_NOT_FOUND"));
    assert_eq!(bench.view(), view);
}

#[test]
fn whatever_happens_there_is_one_session_a_workload_and_nothing_is_removed_while_ready() {
    // A fixed walk over everything that harnesses, people and time do.
    let mut bench = Bench::new(GROUP);
    let mut seed = 7_u64;
    let mut next = |bound: u64| {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % bound
    };
    let mut stream = 0;
    for step in 0..5000 {
        let (before, moment) = (bench.view(), bench.now);
        let old = next(stream + 1);
        match next(9) {
            0 | 1 => {
                stream += 1;
                let vm = Vm {
                    instance: u8::try_from(next(3)).unwrap(),
                    session: u8::try_from(next(3)).unwrap(),
                    seq: next(4),
                    ip: ["10.77.0.2", "10.77.0.3"][usize::try_from(next(2)).unwrap()],
                    state: [State::Healthy, State::Unhealthy][usize::try_from(next(2)).unwrap()],
                    can_wait: next(2) == 0,
                };
                bench.open(stream, &vm);
            }
            2 => drop(bench.event(Event::Closed { stream: old })),
            3 => drop(bench.heartbeat(stream, next(100))),
            4 => drop(bench.report(stream, step, State::Healthy, "")),
            5 => {
                let mode =
                    [Mode::Drain, Mode::Reboot, Mode::Remove][usize::try_from(next(3)).unwrap()];
                bench.leave(old, mode);
            }
            6 => {
                let text = [GROUP, ""][usize::from(next(4) == 0)];
                bench.event(Event::Manifests(manifests(text)));
            }
            7 => drop(bench.pass(seconds(next(20)))),
            _ => drop(bench.pass(seconds(next(400)))),
        }
        let after = bench.view();
        let joined = bench
            .registry
            .sessions
            .iter()
            .filter_map(|(id, session)| match &session.stage {
                Stage::Joined(key) => Some((key.clone(), *id)),
                Stage::Waiting(_) => None,
            })
            .collect::<Vec<_>>();
        for (key, id) in &joined {
            assert_eq!(
                bench.registry.workloads[key].stream(),
                Some(*id),
                "step {step}"
            );
        }
        let connected = bench
            .registry
            .workloads
            .values()
            .filter(|workload| workload.stream().is_some())
            .count();
        assert_eq!(connected, joined.len(), "step {step}");
        let mut ips = after
            .members
            .values()
            .flat_map(|member| &member.ips)
            .collect::<Vec<_>>();
        ips.sort();
        ips.dedup();
        assert_eq!(
            ips.len(),
            after.members.len(),
            "step {step}: an address twice"
        );
        // While time passes, a workload goes through "not ready" unseen by this test.
        let gone_while_ready = before
            .members
            .iter()
            .any(|(key, member)| member.ready && !after.members.contains_key(key));
        assert!(!gone_while_ready || bench.now > moment, "step {step}");
    }
}
