use std::time::Duration;

use linkerd_harness_api::v1::controller_message::Kind;
use linkerd_harness_api::v1::{self, harness_message};

use super::*;
use crate::linkerd::Flags;
use crate::manifests::Source;
use crate::registry::{DefaultAccess, Families, HEARTBEAT, Reconnect, Rules, hello};

struct Bench {
    commands: mpsc::Sender<Command>,
    view: watch::Receiver<Arc<View>>,
    // Their senders, so that the watches stay open.
    _manifests: watch::Sender<Arc<Manifests>>,
    _settings: watch::Sender<Arc<Settings>>,
}

fn start() -> Bench {
    let source = Source {
        file: "a.yaml".into(),
        text: "{apiVersion: workload.buoyant.io/v1alpha1, kind: ExternalGroup, metadata: {name: g}, spec: {}}".into(),
    };
    let (manifests, _) = crate::manifests::parse(&[source]).unwrap();
    let (manifests, manifests_receiver) = watch::channel(Arc::new(manifests));
    let flags = Flags {
        cluster_domain: "cluster.local".into(),
        identity_trust_domain: "cluster.local".into(),
        linkerd_namespace: "linkerd".into(),
        cluster_networks: Vec::new(),
        default_inbound_policy: "deny".into(),
    };
    let settings = Settings::from_flags(flags, "ANCHORS".into());
    let (settings, settings_receiver) = watch::channel(Arc::new(settings));
    let (commands, commands_receiver) = mpsc::channel(8);
    let rules = Rules {
        service_network: "10.96.0.0/16".parse().unwrap(),
        restore_window: Duration::from_secs(10),
        disconnect_grace: Duration::from_secs(45),
        workload_ttl: Duration::from_secs(15 * 60),
        reconnect: Reconnect::Within(Duration::from_secs(2)),
        families: Families::All,
        default_access: DefaultAccess::TrustDomain,
        controller: "test".into(),
    };
    let inputs = Inputs {
        commands: commands_receiver,
        manifests: manifests_receiver,
        settings: settings_receiver,
        store: Link::Memory(Memory::default()),
        others: None,
        metrics: Metrics::default(),
    };
    let (task, view) = Task::new(rules, inputs);
    tokio::spawn(task.run());
    Bench {
        commands,
        view,
        _manifests: manifests,
        _settings: settings,
    }
}

async fn open(bench: &Bench, outbox: Outbox) {
    let wire = v1::Hello {
        group: Some(v1::GroupRef {
            namespace: "default".into(),
            name: "g".into(),
        }),
        instance_id: vec![1; 32],
        session_id: vec![1],
        ips: vec!["10.77.0.2".into()],
        health: Some(v1::HealthReport {
            state: v1::health_report::State::Healthy.into(),
            ..v1::HealthReport::default()
        }),
        ..v1::Hello::default()
    };
    let open = Command::Open {
        stream: 1,
        caller: "spiffe://td/vm".parse().unwrap(),
        hello: Box::new(hello::check(wire).unwrap()),
        outbox,
    };
    bench.commands.send(open).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn time_alone_restores_makes_unready_and_removes() {
    let mut bench = start();
    let began = Instant::now();
    bench.view.wait_for(|view| view.restored).await.unwrap();
    assert_eq!(began.elapsed().as_secs(), 10);

    let (outbox, _messages) = mpsc::channel(8);
    open(&bench, outbox).await;
    let ready = |view: &Arc<View>| view.members.values().any(|member| member.ready);
    bench.view.wait_for(ready).await.unwrap();
    let lost = Instant::now();
    bench
        .commands
        .send(Command::Closed { stream: 1 })
        .await
        .unwrap();
    bench.view.wait_for(|view| !ready(view)).await.unwrap();
    assert_eq!(lost.elapsed().as_secs(), 45);
    bench
        .view
        .wait_for(|view| view.members.is_empty())
        .await
        .unwrap();
    assert_eq!(lost.elapsed().as_secs(), 15 * 60);
}

#[tokio::test(start_paused = true)]
async fn a_silent_harness_loses_its_stream_with_the_reason() {
    let bench = start();
    let (outbox, mut messages) = mpsc::channel(8);
    open(&bench, outbox).await;
    let first = messages.recv().await.unwrap().unwrap();
    assert!(matches!(first.kind, Some(Kind::Assignment(_))));
    let began = Instant::now();
    let status = messages.recv().await.unwrap().unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unavailable);
    assert_eq!(began.elapsed().as_secs(), (HEARTBEAT * 3).as_secs());
    assert!(messages.recv().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_harness_that_does_not_read_loses_its_stream_and_nobody_waits_for_it() {
    let bench = start();
    let (outbox, mut messages) = mpsc::channel(1);
    open(&bench, outbox).await;
    for seq in 1..3 {
        let heartbeat = harness_message::Kind::Heartbeat(v1::Heartbeat { seq });
        let heard = Command::Heard {
            stream: 1,
            message: Some(Box::new(heartbeat)),
        };
        bench.commands.send(heard).await.unwrap();
    }
    // The assignment is still there; then it is over.
    assert!(messages.recv().await.is_some());
    assert!(messages.recv().await.is_none());
}
