//! Registration behind the pod's Linkerd proxy.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use autoregistration::linkerd::{Flags, Settings};
use autoregistration::manifests::{Source, parse};
use autoregistration::metrics::Metrics;
use autoregistration::registration::limits::Limits;
use autoregistration::registration::{Rate, Registration};
use autoregistration::registry::objects::Totals;
use autoregistration::registry::task::{Command, Inputs, Link, Task};
use autoregistration::registry::{DefaultAccess, Families, Reconnect, Rules};
use autoregistration::sidecar::{self, Accept, PodIps};
use autoregistration::store::memory::Memory;
use linkerd_harness_api::v1::controller_message::Kind;
use linkerd_harness_api::v1::{self, harness_message};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, watch};
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

use crate::lab::{DEADLINE, GROUP};
use crate::pki::{AUTOREGISTRATION, Leaf, Root, VM_ID, dns, uri};
use crate::stand_in::StandIn;
use crate::vm::{Session, channel, channel_over, hello, reason, tls};

/// Whoever dials from the former looks as if he came from the latter: loopback is always the pod's own.
const OUTSIDE: ([u8; 4], [u8; 4]) = ([127, 0, 0, 66], [10, 6, 6, 6]);

struct Listener(TcpListener);

impl Accept for Listener {
    async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, mut addr) = self.0.accept().await?;
        if addr.ip() == IpAddr::from(OUTSIDE.0) {
            addr.set_ip(OUTSIDE.1.into());
        }
        Ok((stream, addr))
    }
}

/// A pod: its registration port, and the proxy before it.
struct Pod {
    root: Root,
    application: SocketAddr,
    proxy: StandIn,
    metrics: Metrics,
}

impl Pod {
    /// With the registry, and these own addresses.
    async fn start(ips: &[IpAddr]) -> Self {
        let source = Source {
            file: "group.yaml".to_owned(),
            text: GROUP.to_owned(),
        };
        let (_, manifests) = watch::channel(Arc::new(parse(&[source]).unwrap().0));
        let settings = Settings::from_flags(flags(), "anchors".into());
        let (_, settings) = watch::channel(Arc::new(settings));
        let (commands, receiver) = mpsc::channel(1024);
        let inputs = Inputs {
            commands: receiver,
            manifests,
            settings,
            store: Link::Memory(Memory::default()),
            others: None,
            metrics: Metrics::default(),
        };
        let (task, _) = Task::new(rules(), inputs);
        tokio::spawn(task.run());
        Self::before(commands, ips, Limits::default()).await
    }

    async fn before(registry: mpsc::Sender<Command>, ips: &[IpAddr], limits: Limits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let application = listener.local_addr().unwrap();
        let metrics = Metrics::default();
        let registration =
            Registration::new("root.linkerd.cluster.local", registry, metrics.clone())
                .with_limits(limits);
        tokio::spawn(sidecar::serve(
            Listener(listener),
            ips.iter().copied().collect::<PodIps>(),
            registration,
            metrics.clone(),
            std::future::pending(),
        ));
        let root = Root::new("root.linkerd.cluster.local");
        let proxy = StandIn::start(&root, application).await;
        Self {
            root,
            application,
            proxy,
            metrics,
        }
    }

    /// A VM's connection to the proxy.
    async fn vm(&self, leaf: Option<&Leaf>) -> Channel {
        channel(self.proxy.addr, AUTOREGISTRATION, &self.root, leaf)
            .await
            .unwrap()
    }

    /// What a VM with these names in its certificate is told, that sends these headers.
    async fn refusal(&self, leaf: Option<&Leaf>, forged: &[&str]) -> tonic::Status {
        let channel = self.vm(leaf).await;
        refusal(channel, forged).await
    }

    fn counts(&self, line: &str) -> bool {
        let text = self.metrics.text(&Totals::default()).unwrap();
        text.lines().any(|found| found == line)
    }
}

async fn refusal(channel: Channel, client_ids: &[&str]) -> tonic::Status {
    match Session::open_with(channel, Some(hello()), client_ids).await {
        Err(status) => status,
        Ok(mut session) => session.next().await.unwrap_err(),
    }
}

/// A connection to the plaintext port itself.
async fn direct(pod: &Pod, from: [u8; 4]) -> Channel {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((IpAddr::from(from), 0).into()).unwrap();
    let stream = socket.connect(pod.application).await;
    channel_over(stream, Endpoint::from_static("http://control.invalid"))
        .await
        .unwrap()
}

fn flags() -> Flags {
    Flags {
        cluster_domain: "cluster.local".to_owned(),
        identity_trust_domain: "cluster.local".to_owned(),
        linkerd_namespace: "linkerd".to_owned(),
        cluster_networks: vec!["10.0.0.0/8".parse().unwrap()],
        default_inbound_policy: "all-unauthenticated".to_owned(),
    }
}

fn rules() -> Rules {
    Rules {
        service_network: "10.96.0.0/16".parse().unwrap(),
        restore_window: Duration::ZERO,
        disconnect_grace: Duration::from_secs(45),
        workload_ttl: Duration::from_secs(15 * 60),
        reconnect: Reconnect::Within(Duration::from_secs(2)),
        families: Families::All,
        default_access: DefaultAccess::TrustDomain,
        controller: "test".to_owned(),
    }
}

#[tokio::test]
async fn a_vm_is_assigned_as_who_its_certificate_says_whatever_header_it_sends() {
    let pod = Pod::start(&[]).await;
    let leaf = pod.root.vm();
    let forged = ["spiffe://root.linkerd.cluster.local/another"; 2];
    let channel = pod.vm(Some(&leaf)).await;
    let mut vm = Session::open_with(channel, Some(hello()), &forged)
        .await
        .unwrap();
    assert_eq!(vm.assignment().await.workload.unwrap().identity, VM_ID);
}

#[tokio::test]
async fn a_vm_without_a_usable_certificate_is_told_why_whatever_header_it_sends() {
    let pod = Pod::start(&[]).await;
    let nobody = pod.refusal(None, &[VM_ID]).await;
    assert_eq!(
        reason(&nobody),
        (Code::Unauthenticated, "NO_CLIENT_IDENTITY".to_owned())
    );
    let dns_first = pod.root.leaf(vec![dns("vm.example"), uri(VM_ID)]);
    let refused = pod.refusal(Some(&dns_first), &[]).await;
    assert_eq!(
        reason(&refused),
        (Code::Unauthenticated, "NOT_SPIFFE".to_owned())
    );
    assert!(
        refused.message().contains("without DNS names"),
        "{refused:?}"
    );
    let other = pod.root.leaf(vec![uri("spiffe://other.example/vm")]);
    let refused = pod.refusal(Some(&other), &[]).await;
    assert_eq!(
        reason(&refused),
        (Code::PermissionDenied, "WRONG_TRUST_DOMAIN".to_owned())
    );
}

#[tokio::test]
async fn the_header_counts_only_from_within_the_pod() {
    let pod = Pod::start(&[]).await;
    let refused = refusal(direct(&pod, OUTSIDE.0).await, &[VM_ID]).await;
    assert_eq!(
        reason(&refused),
        (Code::Unauthenticated, "NO_CLIENT_IDENTITY".to_owned())
    );
    assert!(refused.message().contains("10.6.6.6"), "{refused:?}");
    assert!(pod.counts("autoregistration_refused_connections_total{listener=\"registration\"} 1"));
    let twice = refusal(direct(&pod, [127, 0, 0, 1]).await, &[VM_ID, VM_ID]).await;
    assert_eq!(reason(&twice).1, "NO_CLIENT_IDENTITY");

    let own = Pod::start(&[OUTSIDE.1.into()]).await;
    let channel = direct(&own, OUTSIDE.0).await;
    let opened = Session::open_with(channel, Some(hello()), &[VM_ID]).await;
    opened.unwrap().assignment().await;
}

#[tokio::test]
async fn a_connection_from_outside_may_not_stay_and_one_of_another_protocol_is_closed() {
    let pod = Pod::start(&[]).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((IpAddr::from(OUTSIDE.0), 0).into()).unwrap();
    let outside = socket.connect(pod.application).await.unwrap();
    // What arrives when the VM asked for another name: its TLS, passed on.
    let mut hello = TcpStream::connect(pod.application).await.unwrap();
    hello
        .write_all(&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3])
        .await
        .unwrap();
    let silent = TcpStream::connect(pod.application).await.unwrap();
    for mut stream in [outside, hello, silent] {
        let mut rest = Vec::new();
        let closed = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut rest)).await;
        assert!(closed.is_ok(), "{stream:?}");
    }
}

/// A registry that assigns a workload with a configuration of this size, and answers heartbeats.
async fn assign(mut commands: mpsc::Receiver<Command>, size: usize) {
    let mut outboxes = BTreeMap::new();
    let send = |kind| Ok(v1::ControllerMessage { kind: Some(kind) });
    while let Some(command) = commands.recv().await {
        match command {
            Command::Open { stream, outbox, .. } => {
                let assignment = v1::Assignment {
                    config_hash: vec![0; size],
                    ..v1::Assignment::default()
                };
                outbox.try_send(send(Kind::Assignment(assignment))).unwrap();
                outboxes.insert(stream, outbox);
            }
            Command::Heard { stream, message } => {
                if let Some(harness_message::Kind::Heartbeat(beat)) = message.as_deref() {
                    // One that does not read is ended, as the registry does it.
                    if let Some(outbox) = outboxes.get(&stream)
                        && outbox.try_send(send(Kind::Heartbeat(*beat))).is_err()
                    {
                        outboxes.remove(&stream);
                    }
                }
            }
            Command::Closed { stream } => drop(outboxes.remove(&stream)),
            _ => {}
        }
    }
}

/// VMs with one identity share one connection to us, and some of them take nothing that we send: not one byte.
#[tokio::test(flavor = "multi_thread")]
async fn more_than_a_thousand_vms_of_one_identity_share_a_connection_and_slow_ones_stall_nobody() {
    const BURST: Rate = Rate::new(Duration::from_millis(1), 10_000);
    let (commands, receiver) = mpsc::channel(1024);
    tokio::spawn(assign(receiver, 4096));
    let limits = Limits {
        replica: BURST,
        identity: BURST,
        instance: BURST,
    };
    let pod = Pod::before(commands, &[], limits).await;
    let leaf = pod.root.vm();
    let hello = |vm: u32| {
        let mut hello = hello();
        hello.instance_id[..4].copy_from_slice(&vm.to_be_bytes());
        hello
    };

    let mut stuck = Vec::new();
    let stream = tls(pod.proxy.addr, AUTOREGISTRATION, &pod.root, Some(&leaf)).await;
    let no_window = Endpoint::from_static("http://control.invalid").initial_stream_window_size(0);
    let channel = channel_over(stream, no_window).await.unwrap();
    for vm in 0..150 {
        let session = Session::open(channel.clone(), hello(vm)).await.unwrap();
        for seq in 0..5 {
            let beat = harness_message::Kind::Heartbeat(v1::Heartbeat { seq });
            session.say(beat).await;
        }
        stuck.push(session);
    }
    let mut vms = Vec::new();
    for connection in 1..=10 {
        let channel = pod.vm(Some(&leaf)).await;
        for vm in 0..110 {
            let hello = hello(connection * 1000 + vm);
            let mut session = Session::open(channel.clone(), hello).await.unwrap();
            session.assignment().await;
            vms.push(session);
        }
    }
    for round in 1..=3 {
        for vm in &mut vms {
            vm.lives(round).await;
        }
    }
    assert_eq!(pod.proxy.upstreams().await, 1);
    assert_eq!((vms.len(), stuck.len()), (1100, 150));
}
