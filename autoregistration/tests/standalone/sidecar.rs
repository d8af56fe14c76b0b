//! Registration behind the pod's Linkerd proxy, as far as no proxy is needed to see it: the rest is with a proxy in
//! `tests/stand-in-proxy/tests/component/sidecar.rs`.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use autoregistration::linkerd::{Flags, Settings};
use autoregistration::manifests::{Source, parse};
use autoregistration::metrics::Metrics;
use autoregistration::registration::Registration;
use autoregistration::registry::objects::Totals;
use autoregistration::registry::task::{Inputs, Link, Task};
use autoregistration::registry::{DefaultAccess, Families, Reconnect, Rules};
use autoregistration::sidecar::{self, Accept, PodIps};
use autoregistration::store::memory::Memory;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, watch};
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

use crate::lab::{DEADLINE, GROUP};
use crate::pki::VM_ID;
use crate::vm::{Session, channel_over, hello, reason};

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

/// A pod's registration port.
struct Pod {
    application: SocketAddr,
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
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let application = listener.local_addr().unwrap();
        let metrics = Metrics::default();
        let registration =
            Registration::new("root.linkerd.cluster.local", commands, metrics.clone());
        tokio::spawn(sidecar::serve(
            Listener(listener),
            ips.iter().copied().collect::<PodIps>(),
            registration,
            metrics.clone(),
            std::future::pending(),
        ));
        Self {
            application,
            metrics,
        }
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
