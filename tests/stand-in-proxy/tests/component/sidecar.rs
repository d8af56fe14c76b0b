//! Autoregistration in a pod, behind the pod's proxy. The client is a harness without a proxy of its own on the way, which is
//! how harnesses reach it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use autoregistration::linkerd::{Flags, Settings};
use autoregistration::manifests::{Source, parse};
use autoregistration::metrics::Metrics;
use autoregistration::registration::Rate;
use autoregistration::registration::Registration;
use autoregistration::registration::limits::Limits;
use autoregistration::registry::task::{Command, Inputs, Link, Task};
use autoregistration::registry::{DefaultAccess, Families, Reconnect, Rules};
use autoregistration::sidecar::{self, Accept, PodIps};
use autoregistration::store::memory::Memory;
use hyper_util::rt::TokioIo;
use linkerd_harness_api::v1::registration_client::RegistrationClient;
use linkerd_harness_api::v1::{self, controller_message::Kind, harness_message};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status, Streaming};

use crate::control_plane::{ControlPlane, World};
use crate::host::{CONTROL_NAME, Host, Names, host, id};
use crate::messages::{grpc_server, grpc_server_for_the_mesh, server};
use crate::network::{self, Namespace};
use crate::pki::{Leaf, Root};
use crate::poll;

const PORT: u16 = 8081;
const NAME: &str =
    "linkerd-autoregistration.linkerd-expansion.serviceaccount.identity.linkerd.cluster.local";
const GROUP: &str = "apiVersion: workload.buoyant.io/v1alpha1\nkind: ExternalGroup\n\
                     metadata: { name: training-vm, namespace: training }\nspec: { template: { ports: [{ port: 80 }] } }\n";
const BURST: Rate = Rate::new(Duration::from_millis(1), 10_000);

/// A session; dropping it hangs up.
struct Session {
    say: mpsc::Sender<v1::HarnessMessage>,
    hear: Streaming<v1::ControllerMessage>,
}

/// The pod, and a VM that can reach it.
struct Pod {
    pod: Host,
    /// Between proxy and autoregistration, so far.
    connections: Arc<AtomicUsize>,
    vm: Namespace,
    root: Root,
    control: ControlPlane,
    _dir: tempfile::TempDir,
}

impl Pod {
    /// With a registry.
    async fn start() -> Self {
        Self::before(registry()).await
    }

    /// With the `Server` and the authorization that the chart installs.
    async fn before(registry: mpsc::Sender<Command>) -> Self {
        let mut world = World::default();
        world.servers.insert(4191, server(None));
        world.servers.insert(PORT, grpc_server());
        let control = ControlPlane::new(world);
        let dir = tempfile::tempdir().unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(dir.path(), mode).unwrap();
        let root = Root::new();
        let (vm, net) = network::pair();
        let names = Names {
            id: id("autoregistration"),
            server_name: NAME.to_owned(),
            leaf: root.pod(NAME, &id("autoregistration")),
        };
        let listener = net.listen(SocketAddr::new(net.ip, 8086));
        control.serve(listener, Some(root.server(CONTROL_NAME)));
        let pod = host("pod", net, names, &root, dir.path()).await;
        let connections = Arc::default();
        serve(&pod, Arc::clone(&connections), registry);
        let pod = Self {
            pod,
            connections,
            vm,
            root,
            control,
            _dir: dir,
        };
        let leaf = pod.root.svid(&id("first"));
        poll::until("the proxy has the policy", || async {
            let channel = pod.tls(Some(&leaf), NAME).await?;
            Session::open(channel, hello(0), &[]).await.map(drop)
        })
        .await;
        pod
    }

    fn addr(&self) -> SocketAddr {
        self.pod.addr(PORT)
    }

    fn upstreams(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// A connection of a VM with this certificate, which expects a server of this name.
    async fn stream(
        &self,
        leaf: Option<&Leaf>,
        name: &str,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = self.vm.connect(self.addr()).unwrap();
        let name = rustls::pki_types::ServerName::try_from(name.to_owned()).unwrap();
        let config = Arc::new(self.root.client(leaf));
        TlsConnector::from(config).connect(name, stream).await
    }

    async fn tls(&self, leaf: Option<&Leaf>, name: &str) -> Result<Channel, Status> {
        let stream = self.stream(leaf, name).await;
        let stream = stream.map_err(|error| Status::unavailable(error.to_string()))?;
        channel(stream, endpoint()).await
    }

    async fn plaintext(&self) -> Channel {
        channel(self.vm.connect(self.addr()).unwrap(), endpoint())
            .await
            .unwrap()
    }

    /// Why a VM with this certificate that sends these headers is refused.
    async fn refusal(&self, leaf: Option<&Leaf>, forged: &[&str]) -> Status {
        let channel = self.tls(leaf, NAME).await.unwrap();
        refusal(channel, forged).await
    }
}

struct Counted(TcpListener, Arc<AtomicUsize>);

impl Accept for Counted {
    async fn accept(&self) -> std::io::Result<(TcpStream, SocketAddr)> {
        let accepted = self.0.accept().await;
        self.1.fetch_add(1, Ordering::Relaxed);
        accepted
    }
}

fn registry() -> mpsc::Sender<Command> {
    let source = Source {
        file: "group.yaml".to_owned(),
        text: GROUP.to_owned(),
    };
    let (_, manifests) = watch::channel(Arc::new(parse(&[source]).unwrap().0));
    let flags = Flags {
        cluster_domain: "cluster.local".to_owned(),
        identity_trust_domain: "cluster.local".to_owned(),
        linkerd_namespace: "linkerd".to_owned(),
        cluster_networks: vec!["10.0.0.0/8".parse().unwrap()],
        default_inbound_policy: "all-unauthenticated".to_owned(),
    };
    let (_, settings) = watch::channel(Arc::new(Settings::from_flags(flags, "anchors".into())));
    let (commands, receiver) = mpsc::channel(1024);
    let inputs = Inputs {
        commands: receiver,
        manifests,
        settings,
        store: Link::Memory(Memory::default()),
        others: None,
        metrics: Metrics::default(),
    };
    let rules = Rules {
        service_network: "10.96.0.0/16".parse().unwrap(),
        restore_window: Duration::ZERO,
        disconnect_grace: Duration::from_secs(45),
        workload_ttl: Duration::from_secs(900),
        reconnect: Reconnect::Within(Duration::from_secs(2)),
        families: Families::One,
        default_access: DefaultAccess::TrustDomain,
        controller: "test".to_owned(),
    };
    let (task, _) = Task::new(rules, inputs);
    tokio::spawn(task.run());
    commands
}

/// Autoregistration's port in the pod.
fn serve(pod: &Host, connections: Arc<AtomicUsize>, registry: mpsc::Sender<Command>) {
    let limits = Limits {
        replica: BURST,
        identity: BURST,
        instance: BURST,
    };
    let registration =
        Registration::new("root.linkerd.cluster.local", registry, Metrics::default())
            .with_limits(limits);
    tokio::spawn(sidecar::serve(
        Counted(pod.net.listen(pod.addr(PORT)), connections),
        [pod.net.ip].into_iter().collect::<PodIps>(),
        registration,
        Metrics::default(),
        std::future::pending(),
    ));
}

fn endpoint() -> Endpoint {
    Endpoint::from_static("http://control.invalid")
}

async fn channel<S>(stream: S, endpoint: Endpoint) -> Result<Channel, Status>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut once = Some(TokioIo::new(stream));
    let connector = tower::service_fn(move |_| {
        let stream = once
            .take()
            .ok_or_else(|| std::io::Error::from(std::io::ErrorKind::NotConnected));
        std::future::ready(stream)
    });
    let connected = endpoint.connect_with_connector(connector).await;
    connected.map_err(|error| Status::unavailable(format!("{error:?}")))
}

fn hello(vm: u16) -> v1::Hello {
    let [high, low] = vm.to_be_bytes();
    v1::Hello {
        group: Some(v1::GroupRef {
            namespace: "training".into(),
            name: "training-vm".into(),
        }),
        instance_id: [high, low].repeat(16),
        boot_id: vec![2; 16],
        session_id: [high, low].repeat(8),
        stream_seq: 1,
        ips: vec![format!("10.78.{high}.{low}")],
        health: Some(v1::HealthReport {
            seq: 1,
            state: v1::health_report::State::Starting.into(),
            ..v1::HealthReport::default()
        }),
        capabilities: vec![linkerd_harness_api::CAPABILITY_PENDING.to_owned()],
        ..v1::Hello::default()
    }
}

async fn refusal(channel: Channel, forged: &[&str]) -> Status {
    match Session::open(channel, hello(1), forged).await {
        Err(status) => status,
        Ok(mut session) => session.next().await.unwrap_err(),
    }
}

/// The reason that autoregistration gives, or nothing when it was not asked.
fn reason(status: &Status) -> (Code, Option<String>) {
    use tonic_types::StatusExt as _;
    let details = status.get_details_error_info();
    (status.code(), details.map(|info| info.reason))
}

impl Session {
    async fn open(channel: Channel, hello: v1::Hello, forged: &[&str]) -> Result<Self, Status> {
        let (say, said) = mpsc::channel(8);
        let kind = Some(harness_message::Kind::Hello(hello));
        say.send(v1::HarnessMessage { kind }).await.unwrap();
        let mut request = Request::new(ReceiverStream::new(said));
        for id in forged {
            request
                .metadata_mut()
                .append("l5d-client-id", id.parse().unwrap());
        }
        let mut client = RegistrationClient::new(channel);
        let hear = client.session(request).await?.into_inner();
        Ok(Self { say, hear })
    }

    async fn next(&mut self) -> Result<Kind, Status> {
        let message = tokio::time::timeout(Duration::from_secs(20), self.hear.message());
        let message = message.await.expect("nothing is said")?;
        Ok(message.and_then(|message| message.kind).unwrap())
    }

    async fn identity(&mut self) -> String {
        match self.next().await.unwrap() {
            Kind::Assignment(it) => it.workload.unwrap().identity,
            other => panic!("{other:?}"),
        }
    }

    async fn beat(&self, seq: u64) {
        let kind = Some(harness_message::Kind::Heartbeat(v1::Heartbeat { seq }));
        self.say.send(v1::HarnessMessage { kind }).await.unwrap();
    }

    async fn lives(&mut self, seq: u64) {
        self.beat(seq).await;
        let answer = self.next().await.unwrap();
        assert_eq!(answer, Kind::Heartbeat(v1::Heartbeat { seq }));
    }
}

#[tokio::test]
async fn a_vm_is_who_its_certificate_says_whatever_header_it_sends() {
    let pod = Pod::start().await;
    let forged = [id("another"), id("another")];
    let forged = forged.each_ref().map(String::as_str);
    let leaf = pod.root.svid(&id("vm-1"));
    let channel = pod.tls(Some(&leaf), NAME).await.unwrap();
    let mut vm = Session::open(channel, hello(1), &forged).await.unwrap();
    assert_eq!(vm.identity().await, id("vm-1"));
    vm.lives(1).await;

    let nobody = (Code::Unauthenticated, Some("NO_CLIENT_IDENTITY".to_owned()));
    assert_eq!(reason(&pod.refusal(None, &forged).await), nobody);
    assert_eq!(
        reason(&refusal(pod.plaintext().await, &forged).await),
        nobody
    );
    let dns_first = pod.root.pod("vm.example", &id("vm-1"));
    assert_eq!(
        reason(&pod.refusal(Some(&dns_first), &[]).await),
        (Code::Unauthenticated, Some("NOT_SPIFFE".to_owned()))
    );
    let foreign = pod.root.svid("spiffe://other.example/vm");
    assert_eq!(
        reason(&pod.refusal(Some(&foreign), &[]).await),
        (
            Code::PermissionDenied,
            Some("WRONG_TRUST_DOMAIN".to_owned())
        )
    );
}

/// A registry that assigns a workload with a configuration of this size, and answers heartbeats.
async fn assign(mut commands: mpsc::Receiver<Command>, size: usize) {
    let mut outboxes = BTreeMap::new();
    let send = |kind| Ok(v1::ControllerMessage { kind: Some(kind) });
    while let Some(command) = commands.recv().await {
        match command {
            Command::Open {
                stream,
                caller,
                outbox,
                ..
            } => {
                let workload = v1::Workload {
                    identity: caller.to_string(),
                    ..v1::Workload::default()
                };
                let assignment = v1::Assignment {
                    workload: Some(workload),
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

/// They share one connection between proxy and autoregistration, and some of them take nothing that we send: not one byte.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_vms_of_one_identity_are_heard_and_slow_ones_stall_nobody() {
    let (commands, receiver) = mpsc::channel(1024);
    tokio::spawn(assign(receiver, 4096));
    let pod = Pod::before(commands).await;
    let leaf = pod.root.svid(&id("fleet"));
    let others = pod.upstreams();

    let mut stuck = Vec::new();
    let no_window = Endpoint::from_static("http://control.invalid").initial_stream_window_size(0);
    for connection in 1..=3_u16 {
        let stream = pod.stream(Some(&leaf), NAME).await.unwrap();
        let channel = channel(stream, no_window.clone()).await.unwrap();
        for vm in 0..50 {
            let hello = hello(connection * 100 + vm);
            let session = Session::open(channel.clone(), hello, &[]).await.unwrap();
            for seq in 0..5 {
                session.beat(seq).await;
            }
            stuck.push(session);
        }
    }
    let mut vms = Vec::new();
    for connection in 11..=30_u16 {
        let channel = pod.tls(Some(&leaf), NAME).await.unwrap();
        for vm in 0..50 {
            let hello = hello(connection * 100 + vm);
            let mut session = Session::open(channel.clone(), hello, &[]).await.unwrap();
            assert_eq!(session.identity().await, id("fleet"));
            vms.push(session);
        }
    }
    for vm in &mut vms {
        vm.lives(7).await;
    }
    assert_eq!((vms.len(), stuck.len()), (1000, 150));
    assert_eq!(pod.upstreams() - others, 1);
}

/// Why the chart asks for no identity here: not even `*` is that of a VM.
#[tokio::test]
async fn a_policy_for_every_identity_of_the_mesh_keeps_vms_out() {
    let pod = Pod::start().await;
    pod.control.change(|world| {
        world.servers.insert(PORT, grpc_server_for_the_mesh());
    });
    let leaf = pod.root.svid(&id("vm-1"));
    let refused = poll::until("the policy has changed", || async {
        let channel = pod.tls(Some(&leaf), NAME).await?;
        match Session::open(channel, hello(1), &[]).await {
            Err(refused) => Ok(refused),
            Ok(_) => Err(Status::ok("it is let in")),
        }
    })
    .await;
    assert_eq!(
        reason(&refused),
        (Code::PermissionDenied, None),
        "{refused:?}"
    );
    assert!(
        refused.metadata().contains_key("l5d-proxy-error"),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_vm_that_expects_another_name_gets_no_answer_and_the_others_theirs() {
    let pod = Pod::start().await;
    let leaf = pod.root.svid(&id("vm-1"));
    let other = pod.tls(Some(&leaf), "other.linkerd.cluster.local").await;
    assert!(other.is_err(), "it was answered");
    let channel = pod.tls(Some(&leaf), NAME).await.unwrap();
    let mut vm = Session::open(channel, hello(1), &[]).await.unwrap();
    assert_eq!(vm.identity().await, id("vm-1"));
}
