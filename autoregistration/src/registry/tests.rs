//! A registry at a time of its own, and what harnesses say to it.

mod access;
mod addresses;
mod ahead;
mod balance;
mod edits;
mod joining;
mod labels;
mod leaving;
mod lifetime;
mod paused;
mod probe_kinds;
mod readiness;
mod replicas;
mod stores;
mod takeover;
mod unreadable;
mod walk;

use linkerd_harness_api::v1::harness_message;
use linkerd_harness_api::v1::health_ack::Outcome;
use linkerd_harness_api::v1::health_report::State;
use linkerd_harness_api::v1::leave::Mode;

use super::hello::Hello;
use super::*;
use crate::linkerd::Flags;
use crate::manifests::Source;
use crate::store::memory::Memory;
use crate::store::{Desired, News, Ready, Stored};
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
    store: Memory,
    now: Duration,
    /// What people were told.
    notices: Vec<Notice>,
}

#[derive(Clone)]
pub(super) struct Vm {
    /// Stands for the machine.
    instance: u8,
    session: u8,
    seq: u64,
    ip: &'static str,
    state: State,
    can_wait: bool,
}

pub(super) const VM: Vm = Vm {
    instance: 1,
    session: 1,
    seq: 1,
    ip: "10.77.0.2",
    state: State::Healthy,
    can_wait: true,
};

impl Vm {
    fn hello(&self) -> Hello {
        let wire = v1::Hello {
            group: Some(v1::GroupRef {
                namespace: "training".into(),
                name: "training-vm".into(),
            }),
            instance_id: vec![self.instance; 32],
            session_id: vec![self.session],
            stream_seq: self.seq,
            ips: vec![self.ip.into()],
            health: Some(v1::HealthReport {
                seq: 1,
                state: self.state.into(),
                ..v1::HealthReport::default()
            }),
            capabilities: self
                .can_wait
                .then(|| "pending".to_owned())
                .into_iter()
                .collect(),
            ..v1::Hello::default()
        };
        hello::check(wire).unwrap()
    }
}

/// The same machine, which asks for these labels and is in this zone.
pub(super) fn hello_with(vm: &Vm, labels: &[(&str, &str)], zone: &str) -> Hello {
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    Hello {
        labels: labels.iter().map(owned).collect(),
        zone: zone.to_owned(),
        ..vm.hello()
    }
}

fn manifests(text: &str) -> Arc<Manifests> {
    let source = Source {
        file: "a.yaml".into(),
        text: text.into(),
    };
    Arc::new(crate::manifests::parse(&[source]).unwrap().0)
}

fn rules() -> Rules {
    Rules {
        service_network: "10.96.0.0/16".parse().unwrap(),
        restore_window: Duration::from_secs(10),
        disconnect_grace: Duration::from_secs(45),
        workload_ttl: Duration::from_secs(15 * 60),
        reconnect: Reconnect::Within(Duration::from_secs(2)),
        families: Families::All,
        default_access: DefaultAccess::TrustDomain,
        controller: "test".into(),
    }
}

fn flags() -> Flags {
    Flags {
        cluster_domain: "cluster.local".into(),
        identity_trust_domain: "cluster.local".into(),
        linkerd_namespace: "linkerd".into(),
        cluster_networks: vec!["10.0.0.0/8".parse().unwrap()],
        default_inbound_policy: "all-unauthenticated".into(),
    }
}

fn settings(anchors: &str) -> Arc<Settings> {
    Arc::new(Settings::from_flags(flags(), anchors.into()))
}

impl Bench {
    fn new(text: &str) -> Self {
        Self::with(rules(), flags(), Replicas::One, text)
    }

    /// One of several replicas. Claims are for the test to answer.
    fn of_several(text: &str) -> Self {
        Self::with(rules(), flags(), Replicas::Several, text)
    }

    fn with(rules: Rules, flags: Flags, replicas: Replicas, text: &str) -> Self {
        let settings = Arc::new(Settings::from_flags(flags, "ANCHORS".into()));
        Self {
            registry: Registry::new(rules, replicas, manifests(text), settings),
            store: Memory::default(),
            notices: Vec::new(),
            now: Duration::ZERO,
        }
    }

    /// What others see of an event: wishes are carried out at once.
    fn event(&mut self, event: Event) -> Vec<Effect> {
        let mut effects = VecDeque::from(self.registry.handle(self.now, event));
        for news in self.store.remove(self.now) {
            effects.extend(self.registry.handle(self.now, Event::News(news)));
        }
        let mut seen = Vec::new();
        while let Some(effect) = effects.pop_front() {
            match effect {
                Effect::Wish(wish) => {
                    for news in self.store.wish(self.now, wish) {
                        effects.extend(self.registry.handle(self.now, Event::News(news)));
                    }
                }
                Effect::Notice(notice) => self.notices.push(*notice),
                Effect::Ended(_)
                | Effect::SentAway(_)
                | Effect::Acknowledged(_)
                | Effect::Swept(_) => {}
                other => seen.push(other),
            }
        }
        seen
    }

    fn due(&self) -> Option<Duration> {
        let due = self.registry.next_due();
        due.into_iter().chain(self.store.due()).min()
    }

    fn open(&mut self, stream: StreamId, vm: &Vm) -> Vec<Effect> {
        self.event(Event::Opened {
            stream,
            caller: ID.parse().unwrap(),
            hello: Box::new(vm.hello()),
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
        while let Some(due) = self.due().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            effects.extend(self.event(Event::Tick));
            assert!(
                self.due().is_none_or(|next| next > self.now),
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
