//! What VMs say on their streams, in any order, to the controller's registry.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use autoregistration::linkerd::{Flags, Settings};
use autoregistration::manifests::{Source, parse};
use autoregistration::registry::{
    Claimed, DefaultAccess, Effect, Event, Families, Reconnect, Registry, Replicas, Rules, hello,
};
use autoregistration::store::memory::Memory;
use linkerd_harness_api::v1::harness_message::Kind;
use linkerd_harness_api::v1::{self, HarnessMessage};
use prost::Message;

use crate::Target;

pub(crate) const SESSION: Target = Target {
    name: "session",
    run,
    seeds: || vec![conversation()],
};

/// Records of what happens: which stream, whether it ends first, how much later, and a message with its length.
fn run(input: &[u8]) -> bool {
    let mut registry = mk_registry();
    let mut store = Memory::default();
    let (mut now, mut assigned) = (Duration::ZERO, false);
    let mut open = [false; STREAMS];
    let mut rest = input;
    while let Some(([stream, ends, later, length], after)) = rest.split_first_chunk::<4>() {
        let (bytes, after) = after.split_at((*length as usize).min(after.len()));
        rest = after;
        now += Duration::from_millis(u64::from(*later) * 100);
        let slot = usize::from(*stream) % STREAMS;
        let id = slot as u64;
        let mut events = VecDeque::new();
        if *ends % 4 == 3 && open[slot] {
            events.push_back(Event::Closed { stream: id });
            open[slot] = false;
        }
        if let Ok(HarnessMessage { kind }) = HarnessMessage::decode(bytes) {
            match kind {
                Some(Kind::Hello(hello)) if !open[slot] => {
                    if let Ok(hello) = hello::check(hello) {
                        open[slot] = true;
                        events.push_back(Event::Opened {
                            stream: id,
                            caller: caller(slot),
                            hello: Box::new(hello),
                        });
                    }
                }
                message if open[slot] => events.push_back(Event::Heard {
                    stream: id,
                    message: message.map(Box::new),
                }),
                _ => {}
            }
        }
        events.push_back(Event::Tick);
        events.extend(store.remove(now).into_iter().map(Event::News));
        let mut handled = 0;
        while let Some(event) = events.pop_front() {
            handled += 1;
            assert!(handled < 10_000, "the registry and its store never rest");
            for effect in registry.handle(now, event) {
                match effect {
                    Effect::End(stream, refusal) => {
                        open[usize::try_from(stream).unwrap_or_default() % STREAMS] = false;
                        assert!(refusal.is_none_or(|refusal| !refusal.message().is_empty()));
                    }
                    Effect::Count(outcome) => assigned |= outcome == "ASSIGNED",
                    Effect::Wish(wish) => {
                        events.extend(store.wish(now, wish).into_iter().map(Event::News));
                    }
                    // Another replica may answer anything.
                    Effect::Claim(stream, _) => events.push_back(Event::Claimed {
                        stream,
                        claimed: match ends % 3 {
                            0 => Claimed::Free,
                            1 => Claimed::Superseded,
                            _ => Claimed::Held,
                        },
                    }),
                    Effect::Send(..)
                    | Effect::Answer(..)
                    | Effect::Notice(_)
                    | Effect::Ended(_)
                    | Effect::Acknowledged(_)
                    | Effect::SentAway(_)
                    | Effect::Swept(_) => {}
                }
            }
        }
    }
    // Its picture can be drawn, whatever happened.
    assert!(registry.view().members.len() <= STREAMS * 256);
    assigned
}

const STREAMS: usize = 8;

/// Streams with the same identity, and others.
fn caller(slot: usize) -> autoregistration::identity::SpiffeId {
    let id = format!("spiffe://root.linkerd.cluster.local/vm-{}", slot / 3);
    id.parse().expect("it is one")
}

fn mk_registry() -> Registry {
    let source = Source {
        file: "a.yaml".to_owned(),
        text: GROUP.to_owned(),
    };
    let (manifests, _) = parse(&[source]).expect("it is a group");
    let flags = Flags {
        cluster_domain: "cluster.local".to_owned(),
        identity_trust_domain: "cluster.local".to_owned(),
        linkerd_namespace: "linkerd".to_owned(),
        cluster_networks: ["10.0.0.0/8", "fd00::/8"]
            .map(|network| network.parse().expect("it is one"))
            .to_vec(),
        default_inbound_policy: "all-unauthenticated".to_owned(),
    };
    let rules = Rules {
        service_network: "10.96.0.0/16".parse().expect("it is one"),
        restore_window: Duration::ZERO,
        disconnect_grace: Duration::from_secs(45),
        workload_ttl: Duration::from_secs(900),
        reconnect: Reconnect::ByFleet,
        families: Families::One,
        default_access: DefaultAccess::TrustDomain,
        controller: "fuzz".to_owned(),
    };
    let settings = Arc::new(Settings::from_flags(flags, Arc::from("anchors")));
    Registry::new(rules, Replicas::Several, Arc::new(manifests), settings)
}

const GROUP: &str = "apiVersion: workload.buoyant.io/v1alpha1
kind: ExternalGroup
metadata: { name: training-vm, namespace: training }
spec:
  template:
    metadata: { labels: { app: training-app } }
    ports: [{ port: 80 }]
";

fn conversation() -> Vec<u8> {
    let hello = |instance: u8, ip: &str| {
        Kind::Hello(v1::Hello {
            group: Some(v1::GroupRef {
                namespace: "training".into(),
                name: "training-vm".into(),
            }),
            instance_id: vec![instance; 32],
            session_id: vec![instance],
            stream_seq: 1,
            ips: vec![ip.into()],
            capabilities: vec!["pending".into()],
            ..v1::Hello::default()
        })
    };
    let health = |seq: u64, state: i32| {
        Kind::Health(v1::HealthReport {
            seq,
            state,
            reason: "ProbeSucceeded".into(),
            workload_uid: if seq > 2 {
                "another".into()
            } else {
                String::new()
            },
            ..v1::HealthReport::default()
        })
    };
    let moved = Kind::Addresses(v1::AddressChange {
        seq: 1,
        ips: vec!["10.77.0.9".into()],
    });
    let beat = |seq: u64| Kind::Heartbeat(v1::Heartbeat { seq });
    let leave = |mode: i32| {
        Kind::Leave(v1::Leave {
            mode,
            reason: "Stopped".into(),
            ..v1::Leave::default()
        })
    };
    let records = [
        (0, hello(1, "10.77.0.2"), 0),
        (0, health(1, 2), 5),
        (1, hello(2, "10.77.0.3"), 0),
        (3, hello(1, "fd77::2"), 0),
        (0, moved, 10),
        (0, beat(1), 20),
        (1, beat(u64::MAX), 20),
        (0, health(2, 3), 1),
        (0, health(3, 2), 1),
        (2, hello(1, "10.77.0.2"), 255),
        (1, Kind::ConfigAck(v1::ConfigAck::default()), 1),
        (1, leave(1), 0),
        (1, leave(3), 0),
        (3, leave(2), 60),
        (4, hello(1, "10.77.0.3"), 255),
    ];
    let mut bytes = Vec::new();
    for (stream, kind, later) in records {
        let message = HarnessMessage { kind: Some(kind) }.encode_to_vec();
        let length = u8::try_from(message.len()).expect("seeds are short");
        bytes.extend([stream, 0, later, length]);
        bytes.extend(message);
    }
    bytes
}
